"""A run that is killed goes on: the same record, curve, weights and scores as one undisturbed."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from meid_bench.errors import DataError, SettingError
from meid_bench.results.record import (
    CURVE,
    RECORD,
    SCORES,
    VAL_SCORES,
    CurvePoint,
    Result,
    load_scores,
    read_curve,
)
from meid_bench.training import fit as train
from meid_bench.training.checkpoint import CHECKPOINT, Checkpoint
from meid_bench.training.execution import Execution
from meid_bench.training.model import MODEL, WEIGHTS
from meid_bench.training.request import Plan, Request, plan_run
from meid_bench.training.run import RUN_LOCK, run
from tests.toy import numbers, on_toy, write_toy

CPU = torch.device("cpu")
EVERY_EPOCH = Execution(checkpoint_minutes=0)
REQUEST = Request(
    method="meid",
    dataset="toy",
    aggregator="nextvlad",
    settings={
        "epochs": "4",
        "milestones": "2",
        "batch": "16",
        "aggregator.clusters": "4",
        "aggregator.hidden": "16",
    },
)


def killing(after: int) -> Callable[[CurvePoint], None]:
    """A log in which the process kills itself, as a machine would, at its `after`-th epoch."""
    left = [after]

    def log(point: CurvePoint) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return log


def run_and_die(root: str, after: int) -> None:
    torch.set_num_threads(1)
    run(plan_run(REQUEST, Path(root)), CPU, killing(after), EVERY_EPOCH)


def die(root: Path, after: int) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.test_resume"])
    process = context.Process(target=run_and_die, args=(str(root), after))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def undisturbed(root: Path) -> tuple[Plan, Result]:
    write_toy(root)
    planned = plan_run(REQUEST, root)
    return planned, run(planned, CPU, execution=EVERY_EPOCH)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the process that dies."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_run_killed_in_both_stages_ends_as_one_undisturbed(tmp_path: Path) -> None:
    whole, expected = undisturbed(tmp_path / "whole")
    root = tmp_path / "killed"
    write_toy(root)
    first, second = np.random.default_rng(0).integers(1, 5, 2)
    planned = plan_run(REQUEST, root)
    die(root, int(first))
    assert not planned.finished
    assert len(read_curve(planned.folder)) == first
    die(root, int(4 - (first - 1) + second))  # within the second stage
    progress = Checkpoint(planned.folder).load(tensors=False)
    assert progress is not None and (progress.stage, progress.epoch) == (1, second - 1)
    points: list[CurvePoint] = []
    found = run(planned, CPU, points.append, EVERY_EPOCH)
    assert len(points) == 4 - (second - 1)
    assert numbers(found) == numbers(expected)
    assert read_curve(planned.folder) == read_curve(whole.folder)
    assert np.array_equal(load_scores(planned.folder)[1], load_scores(whole.folder)[1])
    assert (planned.folder / WEIGHTS).read_bytes() == (whole.folder / WEIGHTS).read_bytes()
    left = {path.name for path in planned.folder.iterdir()}
    assert {RECORD, SCORES, VAL_SCORES, CURVE, WEIGHTS, MODEL} <= left and CHECKPOINT not in left
    assert not [name for name in left if name.endswith(".tmp")]


def test_a_checkpoint_beside_a_record_is_taken_away(tmp_path: Path) -> None:
    planned, _ = undisturbed(tmp_path)
    (planned.folder / CHECKPOINT).write_bytes(b"left behind by a kill after the record was written")
    run(planned, CPU)
    assert not (planned.folder / CHECKPOINT).exists()


@pytest.mark.parametrize(("minutes", "kept"), [("0", 3), ("60", 0)])
def test_ctrl_c_says_what_is_kept(
    minutes: str, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said "Aborted!"."""
    write_toy(tmp_path)
    evaluate, seen = train.score_epoch, []

    def press(*arguments: Any) -> None:
        seen.append(arguments)
        if len(seen) == 4:
            raise KeyboardInterrupt
        evaluate(*arguments)

    monkeypatch.setattr(train, "score_epoch", press)
    line = ["run", "--method", "plain", "--checkpoint-minutes", minutes]
    settings = {"epochs": "5", "milestones": "2", "batch": "16"}
    stopped = on_toy(tmp_path, line, settings)
    assert stopped.exit_code == 1
    assert "Aborted" not in stopped.output
    assert f"Error: Stopped; {kept} of 5 epochs are kept in {tmp_path}" in stopped.output
    assert "the same command goes on from there" in stopped.output
    again = on_toy(tmp_path, line, settings)
    assert again.exit_code == 0 and "Test mAP" in again.output
    assert len(seen) == 4 + 5 - kept


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("run --method plain --protocol equal", "finished trials are kept"),
        ("run --method plain,ldam", "finished runs are kept"),
        ("reproduce table3 --seeds 0", "finished runs are kept"),
    ],
)
def test_ctrl_c_in_several_runs_says_what_is_kept(
    command: str, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_toy(tmp_path)
    monkeypatch.setattr(train, "score_epoch", raise_keyboard_interrupt)
    stopped = on_toy(tmp_path, command.split(), {"batch": "16"})
    assert stopped.exit_code == 1
    expected = f"Stopped; {kept}, and the one in progress to its last checkpoint; the same command"
    assert expected in stopped.output and "Aborted" not in stopped.output


def raise_keyboard_interrupt(*arguments: Any) -> None:
    raise KeyboardInterrupt


def test_a_second_process_at_the_same_run_is_refused(tmp_path: Path) -> None:
    write_toy(tmp_path)
    planned = plan_run(REQUEST, tmp_path)
    planned.folder.mkdir(parents=True)
    refused = pytest.raises(DataError, match="Another run of the same settings is running")
    with FileLock(planned.folder / RUN_LOCK), refused:
        run(planned, CPU)
    run(planned, CPU)
    assert planned.finished


def test_where_memory_runs_out_the_run_says_which_batch_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meid.method import MEID

    write_toy(tmp_path)
    loss = MEID.loss

    def hungry(self, batch, stage, epoch):  # type: ignore[no-untyped-def]
        if len(batch) > 8:
            raise torch.OutOfMemoryError("out of memory")
        return loss(self, batch, stage, epoch)

    monkeypatch.setattr(MEID, "loss", hungry)
    with pytest.raises(SettingError, match=r"no room for a step with batch 16; .* --set batch=8"):
        run(plan_run(REQUEST, tmp_path), CPU)


def test_every_cache_mode_gives_the_same_record(tmp_path: Path) -> None:
    records = {}
    for cache in ("auto", "host", "stream"):
        write_toy(tmp_path / cache)
        planned = plan_run(REQUEST, tmp_path / cache)
        lines: list[str] = []
        found = run(planned, CPU, execution=Execution(cache=cache), say=lines.append)  # type: ignore[arg-type]
        mode = "host" if cache == "auto" else cache
        assert found.environment["cache"] == mode and lines[0].startswith(f"Features: {mode} (")
        same = replace(
            found, environment={k: v for k, v in found.environment.items() if k != "cache"}
        )
        records[cache] = numbers(same), load_scores(planned.folder)[1].tobytes()
    assert records["auto"] == records["host"] == records["stream"]


def test_a_shard_that_goes_away_while_streaming_is_named(tmp_path: Path) -> None:
    write_toy(tmp_path)
    planned = plan_run(REQUEST, tmp_path)
    gone = sorted(planned.store.folder.glob("part-*.h5"))[0]
    gone.rename(gone.with_suffix(".away"))
    with pytest.raises(DataError, match=f"{gone.name} is no readable shard"):
        run(planned, CPU, execution=Execution(cache="stream"))
    gone.with_suffix(".away").write_bytes(b"foreign")
    gone.with_suffix(".away").rename(gone)
    with pytest.raises(DataError, match=f"{gone.name} is no readable shard"):
        plan_run(REQUEST, tmp_path)


def test_precision_and_determinism_are_in_the_record(tmp_path: Path) -> None:
    write_toy(tmp_path)
    planned = plan_run(REQUEST, tmp_path)
    how = Execution(precision="float32", deterministic=True)
    found = run(planned, CPU, execution=how).environment
    assert found["precision"] == "float32" and found["deterministic"] is True
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(SettingError, match="checkpoint_minutes is -1"):
        Execution(checkpoint_minutes=-1)
