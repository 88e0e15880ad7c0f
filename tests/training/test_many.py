"""Many runs: what is run and what skipped, on one device or several; a failure stops no other."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from meid_bench.cores import cores
from meid_bench.errors import SettingError
from meid_bench.methods.method import AggregatorMethod, Batch, Stage
from meid_bench.methods.registry import registered
from meid_bench.results.record import Result, load_result
from meid_bench.training.execution import Execution
from meid_bench.training.many import expand, failed_sentence, part_of, run_many, run_on_each
from meid_bench.training.request import Plan, Request
from meid_bench.training.run import run
from tests.toy import on_toy, write_toy

SHORT = {"epochs": "2", "milestones": "1", "batch": "16"}
CPU = torch.device("cpu")
BASE = Request("", dataset="toy", aggregator="nonlinear", settings=SHORT)


class Breaks(AggregatorMethod):
    """Its loss has a mistake."""

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        raise RuntimeError("a mistake in the loss")


BREAKS = "tests.training.test_many:Breaks"


def on_cpu(planned: Plan) -> Result:
    return run(planned, torch.device("cpu"))


def test_every_method_with_every_seed() -> None:
    requests = expand(BASE, ["ldam", "eql"], [0, 3])
    pairs = [("ldam", 0), ("eql", 0), ("ldam", 3), ("eql", 3)]
    assert [(r.method, r.seed) for r in requests] == pairs
    assert all(replace(r, method="", seed=0) == BASE for r in requests)
    assert [r.method for r in expand(BASE, ["all"], [0])] == list(registered())


@pytest.mark.parametrize(
    ("methods", "seeds", "sentence"),
    [
        ([], [0], "There is no method to run"),
        (["ldam"], [], "There is no seed to run"),
        (["ldam", "ldam"], [0], "A method is listed twice in ldam, ldam"),
        (["all", "ldam"], [0], "A method is listed twice"),
        (["ldam"], [1, 1], "A seed is listed twice in 1, 1"),
    ],
)
def test_lists_that_make_no_sense(methods: list[str], seeds: list[int], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        expand(BASE, methods, seeds)


def test_a_failed_run_is_reported_and_the_others_kept(tmp_path: Path) -> None:
    write_toy(tmp_path)
    lines: list[str] = []
    requests = expand(BASE, ["plain", BREAKS, "plian", "ldam"], [0])
    outcomes = run_many(requests, tmp_path, on_cpu, lines.append)
    assert [outcome.result is not None for outcome in outcomes] == [True, False, False, True]
    assert failed_sentence(outcomes) == (
        f"2 of 4 runs failed: {BREAKS} seed 0, plian seed 0; the others are kept"
    )
    assert failed_sentence(outcomes[:1]) is None
    assert lines[0].startswith("[1/4] plain seed 0: test mAP 0.")
    assert lines[1] == f"[2/4] {BREAKS} seed 0 FAILED: RuntimeError: a mistake in the loss"
    assert "did you mean 'plain'?" in lines[2]
    assert lines[3].startswith("[4/4] ldam seed 0: test mAP 0.")


def test_finished_runs_are_skipped_on_a_second_call(tmp_path: Path) -> None:
    write_toy(tmp_path)
    run_many(expand(BASE, ["plain"], [0]), tmp_path, on_cpu)
    started = []

    def start(planned: Plan) -> Result:
        started.append(planned.finished)
        return on_cpu(planned)

    lines: list[str] = []
    outcomes = run_many(expand(BASE, ["plain"], [0, 1]), tmp_path, start, lines.append)
    assert started == [True, False]
    assert [outcome.skipped for outcome in outcomes] == [True, False]
    assert lines[0].endswith("was there already") and lines[1].endswith(" s")


def test_the_command_runs_all_methods_and_ends_with_what_failed(tmp_path: Path) -> None:
    write_toy(tmp_path)
    done = on_toy(tmp_path, ["run", "--method", "cbs,srs", "--seeds", "0,1"], SHORT)
    assert done.exit_code == 0, done.output
    assert "[4/4] srs seed 1: test mAP 0." in done.output
    failed = on_toy(tmp_path, ["run", "--method", f"cbs,{BREAKS}"], SHORT)
    assert failed.exit_code == 1
    assert "[1/2] cbs seed 0: test mAP" in failed.output and "was there already" in failed.output
    assert f"Error: 1 of 2 runs failed: {BREAKS} seed 0; the others are kept" in failed.output
    usage = on_toy(tmp_path, ["run", "--method", "cbs", "--seeds", "one"])
    assert usage.exit_code == 2 and "'one' is no list of whole numbers" in usage.output


def test_quick_and_equal_from_the_command_line(tmp_path: Path) -> None:
    write_toy(tmp_path)
    line = ["run", "--method", "plain", "--quick", "--protocol", "equal"]
    done = on_toy(tmp_path, line, {"batch": "16"})
    assert done.exit_code == 0, done.output
    assert re.search(r"Tried, with val mAP:\n  0\.\d{3}  lr=0.0001\n", done.output)
    assert "never enters the board" in done.output


DIES = "tests.training.test_many:Dies"


class Dies(AggregatorMethod):
    """Its process is killed, as by a machine that has no memory left."""

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return self(batch.features).sum()


def test_two_processes_run_a_list_and_a_process_that_dies_costs_one_run(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_toy(tmp_path / name)
    requests = expand(BASE, ["plain", DIES, "meid"], [0]) + expand(BASE, [DIES, "plain"], [1])
    lines: list[str] = []
    outcomes = run_on_each(requests, tmp_path / "two", [CPU, CPU], Execution(), lines.append)
    assert [outcome.request for outcome in outcomes] == list(requests) and len(lines) == 5
    plain, dead, meid, dead_too, left = outcomes
    for outcome in (dead, dead_too):
        assert outcome.error is not None and "ended early (exit -9)" in outcome.error
    assert left.error == "every process that could have run it has ended"
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, cores() // 2))
    again = run_many(
        [plain.request, meid.request], tmp_path / "one", lambda planned: run(planned, CPU)
    )
    torch.set_num_threads(threads)
    for one, two in zip(again, (plain, meid), strict=True):
        assert one.result is not None and two.result is not None and two.folder is not None
        assert (one.result.test, one.result.val) == (two.result.test, two.result.val)
        assert load_result(two.folder) == two.result


# No `if __name__ == "__main__"`: a worker that ran this would write a second line, and go on.
SCRIPT = """
import sys
from pathlib import Path
root = Path(sys.argv[1])
with (root / "started").open("a") as file:
    file.write("once\\n")

import torch
from meid_bench.training.execution import Execution
from meid_bench.training.many import run_on_each
from meid_bench.training.request import Request
short = {"epochs": "1", "milestones": "", "batch": "16"}
requests = [Request("plain", "toy", "nonlinear", seed=seed, settings=short) for seed in (0, 1)]
outcomes = run_on_each(requests, root, [torch.device("cpu")] * 2, Execution(), lambda line: None)
print([outcome.error for outcome in outcomes])
"""


def test_processes_do_not_run_the_script_that_starts_them(tmp_path: Path) -> None:
    write_toy(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[None, None]\n"), done.stderr
    assert (tmp_path / "started").read_text() == "once\n"


def test_ranks_share_a_list_of_several_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_toy(tmp_path)
    line = ["run", "--method", "plain,mixup,eql"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        ended = on_toy(tmp_path, line, SHORT)
        assert ended.exit_code == 0, ended.output
        runs = {path.name.split("-")[0] for path in (tmp_path / "runs" / "toy").iterdir()}
        done.append(runs)
    assert done == [{"plain", "eql"}, {"plain", "eql", "mixup"}]
    refused = on_toy(tmp_path, [*line, "--part", "3/2"])
    assert refused.exit_code == 1 and "is no part" in refused.output


def test_parts_are_the_whole_list_once() -> None:
    parts = [part_of(range(7), f"{number}/3") for number in (1, 2, 3)]
    assert sorted(item for part in parts for item in part) == list(range(7))
    assert parts[0] == (0, 3, 6) and part_of([1, 2], None) == (1, 2)
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0", "-1/2"):
        with pytest.raises(SettingError, match="is no part"):
            part_of([1], wrong)
