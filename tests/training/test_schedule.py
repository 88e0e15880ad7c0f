"""Many runs on several devices: each run once, a dead process costs one run, parts are disjoint."""

import os
import signal
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from meid_bench.cli.main import cli
from meid_bench.cores import cores
from meid_bench.errors import SettingError
from meid_bench.methods.method import AggregatorMethod, Batch, Stage
from meid_bench.results.record import load_result
from meid_bench.training.execution import Execution
from meid_bench.training.many import expand, run_many
from meid_bench.training.request import Request
from meid_bench.training.run import run
from meid_bench.training.schedule import part_of, run_on_devices
from tests.toy import write_toy

CPU = torch.device("cpu")
BASE = Request(
    method="",
    dataset="toy",
    aggregator="nonlinear",
    settings={"epochs": "2", "milestones": "1", "batch": "16"},
)
DIES = "tests.training.test_schedule:Dies"


class Dies(AggregatorMethod):
    """Its process is killed, as by a machine that has no memory left."""

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return self(batch.features).sum()


def test_two_processes_run_a_list_and_a_process_that_dies_costs_one_run(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_toy(tmp_path / name)
    requests = expand(BASE, ["plain", DIES, "meid"], [0]) + expand(BASE, [DIES, "plain"], [1])
    lines: list[str] = []
    outcomes = run_on_devices(requests, tmp_path / "two", [CPU, CPU], Execution(), lines.append)
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


def test_ranks_share_a_list_of_several_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_toy(tmp_path)
    arguments = ["run", "--method", "plain,mixup,eql", "--dataset", "toy", "--device", "cpu"]
    arguments += ["--aggregator", "nonlinear", "--root", str(tmp_path)]
    for name, value in BASE.settings.items():
        arguments += ["--set", f"{name}={value}"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        ended = CliRunner().invoke(cli, arguments)
        assert ended.exit_code == 0, ended.output
        runs = {path.name.split("-")[0] for path in (tmp_path / "runs" / "toy").iterdir()}
        done.append(runs)
    assert done == [{"plain", "eql"}, {"plain", "eql", "mixup"}]
    refused = CliRunner().invoke(cli, [*arguments, "--part", "3/2"])
    assert refused.exit_code == 1 and "is no part" in refused.output


def test_parts_are_the_whole_list_once() -> None:
    parts = [part_of(range(7), f"{number}/3") for number in (1, 2, 3)]
    assert sorted(item for part in parts for item in part) == list(range(7))
    assert parts[0] == (0, 3, 6) and part_of([1, 2], None) == (1, 2)
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0", "-1/2"):
        with pytest.raises(SettingError, match="is no part"):
            part_of([1], wrong)
