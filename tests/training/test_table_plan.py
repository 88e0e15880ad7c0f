"""A table's plan: what it says before hours are spent, and that it does nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from baselines.ldam import LDAM
from meid_bench.errors import SettingError
from meid_bench.features.checksum import MEMORY
from meid_bench.files import benchmark_dir, write_text
from meid_bench.results.record import RECORD, load_result
from meid_bench.training import pace
from meid_bench.training.execution import Execution
from meid_bench.training.paper_table import EXPERTS, Variant
from meid_bench.training.reproduce import TableRequest
from meid_bench.training.request import Plan, Request, plan_run
from meid_bench.training.table_plan import PlannedBlock, plan_table
from tests.toy import on_toy, write_toy
from tests.training.test_reproduce import ONE, reproduce, write

SHORT = {"epochs": "1", "milestones": "", "batch": "16"}


def files(root: Path) -> dict[Path, int]:
    """Every file with its time, and every folder; not what a store remembers of its checks."""
    paths = [path for path in root.rglob("*") if path.name != MEMORY]
    return {path: 0 if path.is_dir() else path.stat().st_mtime_ns for path in paths}


def once(work: Callable[[], object]) -> float:
    """In place of a measurement: the work is done, and took a second."""
    work()
    return 1.0


def planned(root: Path, asked: TableRequest) -> list[PlannedBlock]:
    def seconds_of(label: str, planned: Plan) -> float:
        return 10.0 * planned.epochs

    return plan_table(asked, root, seconds_of)


def run_of(root: Path, variant: Variant, seed: int = 0) -> Plan:
    settings = {**SHORT, **variant.settings}
    return plan_run(Request("meid", "charadeslt", "nonlinear", seed=seed, settings=settings), root)


def test_a_plan_says_what_is_finished_and_writes_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(pace, "_seconds", once)
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    arguments = ["table6", "--dataset", "charadeslt", "--aggregator", "nonlinear", *ONE]
    before = files(tmp_path)
    ahead = reproduce(tmp_path, *arguments, "--plan")
    assert ahead.exit_code == 0, ahead.output
    assert files(tmp_path) == before
    assert "Plan of Table 6 on cpu" in ahead.output
    assert "3 runs (0 finished, 0 begun, 3 ahead)" in ahead.output
    for variant in EXPERTS[:2]:
        write_text(run_of(tmp_path, variant).folder / RECORD, "{}")
    before = files(tmp_path)
    behind = reproduce(tmp_path, *arguments, "--plan", "--seeds", "0,1")
    assert files(tmp_path) == before
    assert "6 runs (2 finished, 0 begun, 4 ahead)" in behind.output


def test_every_setting_is_printed_once(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(pace, "_seconds", once)
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    asked = TableRequest("6", datasets=("charadeslt",), aggregators=("nonlinear",), settings=SHORT)
    (part,) = planned(tmp_path, asked)
    for row, variant in zip(part.rows, EXPERTS, strict=True):
        assert row.settings == run_of(tmp_path, variant).settings
    assert [row.epochs for row in part.rows] == [1, 2, 2]
    assert [row.seconds_left for row in part.rows] == [30.0, 60.0, 60.0]
    text = reproduce(
        tmp_path, "table6", "--dataset", "charadeslt", "--aggregator", "nonlinear", *ONE, "--plan"
    ).output
    assert text.count("lambda1=0.1") == 1 and text.count("second=none") == 1


def test_what_is_missing_is_in_the_plan_with_its_settings(tmp_path: Path) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    here, there = planned(tmp_path, TableRequest("3", settings={"batch": "16"}))
    assert here.missing is None and there.features is None
    assert "run `meid-bench build charadesegolt`" in (there.missing or "")
    assert [row.label for row in there.rows] == [row.label for row in here.rows]
    assert all(row.settings["batch"] == 16 and row.seconds is None for row in there.rows)
    (videolt,) = planned(tmp_path, TableRequest("6"))
    assert "beta" not in videolt.rows[0].settings  # one expert: it would change nothing
    assert videolt.rows[2].settings["beta"] == 0.5
    output = reproduce(tmp_path / "nothing", "table3", "--plan").output
    assert "About 0:00:00 for what is not finished, without 54 runs" in output
    assert not (tmp_path / "nothing").exists()


def test_a_row_that_cannot_be_run_says_why(tmp_path: Path) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    asked = TableRequest("5", datasets=("charadeslt",), settings={"beta": "0.4", "batch": "16"})
    (part,) = planned(tmp_path, asked)
    notes = {row.label: row.note for row in part.rows}
    assert notes["CFS+ME+CBS"] == ""
    assert "Setting beta=0.4 would change nothing" in notes["E1 (no second expert)"]


def test_a_batch_is_at_most_all_training_videos(tmp_path: Path) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    request = Request("plain", "charadeslt", "nonlinear")
    capped = plan_run(request, tmp_path)
    assert (capped.runner.batch, capped.capped_batch, capped.changed) == (48, 48, ())
    with pytest.raises(SettingError, match="batch is 128, more than the 48 training videos"):
        plan_run(replace(request, settings={"batch": "128"}), tmp_path)
    smaller = plan_run(replace(request, settings={"batch": "16"}), tmp_path)
    assert (smaller.runner.batch, smaller.capped_batch) == (16, None)


def test_rows_that_a_preset_does_not_concern_say_so(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    monkeypatch.setattr(LDAM, "presets", {"small": {"batch": 12}})
    for part in planned(tmp_path, TableRequest("3", preset="small", settings={"clip": "5"})):
        rows = {row.label: row for row in part.rows}
        assert (rows["LDAM"].preset, rows["LDAM"].settings["batch"]) == ("small", 12)
        assert part.missing or rows["EQL"].note == "has no preset small"


def test_a_begun_run_counts_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    asked = TableRequest("6", (0, 1), ("charadeslt",), ("nonlinear",), settings=SHORT)
    run_of(tmp_path, EXPERTS[2], seed=1).folder.mkdir(parents=True)
    (part,) = planned(tmp_path, asked)
    begun = [(row.seeds["begun"], row.seeds["ahead"]) for row in part.rows]
    assert begun == [([], [0, 1]), ([], [0, 1]), ([1], [0])]
    assert part.rows[2].seconds_left == 40.0


def test_the_time_is_made_of_steps_checks_and_scoring(tmp_path: Path, monkeypatch: Any) -> None:
    """48 training videos are 3 steps an epoch; 24 of val and 24 of test are scored."""
    write_toy(tmp_path)
    monkeypatch.setattr(pace, "_seconds", once)
    settings = {"batch": 16, "epochs": 4, "milestones": ()}

    def seconds(method: str, **changes: Any) -> float:
        request = Request(method, "toy", "nonlinear", settings=settings, **changes)
        return pace.run_seconds(plan_run(request, tmp_path), torch.device("cpu"), Execution())

    epoch, ends = 3 + 1 + 24 / 16, 2 * 48 / 16
    assert seconds("plain") == pytest.approx(4 * epoch + ends)
    assert seconds("meid") == pytest.approx(2 * 4 * epoch + ends)


def test_the_time_is_near_the_time_that_a_run_takes(tmp_path: Path) -> None:
    """Within a factor of ten: enough to tell minutes from days, and true on a busy machine."""
    write_toy(tmp_path)
    request = Request(
        "framestack", "toy", "nonlinear", settings={"batch": 16, "epochs": 10, "milestones": ()}
    )
    run = plan_run(request, tmp_path)
    expected = pace.run_seconds(run, torch.device("cpu"), Execution())
    assert not run.folder.exists()
    settings = {"batch": "16", "epochs": "10", "milestones": ""}
    done = on_toy(tmp_path, ["run", "--method", "framestack"], settings)
    assert done.exit_code == 0, done.output
    seconds = load_result(run.folder).seconds
    assert seconds is not None and 0.1 < seconds / expected < 10


def test_a_damaged_benchmark_is_missing(tmp_path: Path) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    (benchmark_dir(tmp_path, "charadeslt") / "benchmark.json").write_text("{")
    part, _ = planned(tmp_path, TableRequest("3"))
    assert "is damaged" in (part.missing or "")
