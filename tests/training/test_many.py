"""Many runs: what is run, what is skipped, and that a failure stops no other."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from meid_bench.cli.main import cli
from meid_bench.errors import SettingError
from meid_bench.methods.method import AggregatorMethod, Batch, Stage
from meid_bench.methods.registry import registered
from meid_bench.results.record import Result
from meid_bench.training.many import expand, failures, run_many
from meid_bench.training.request import Plan, Request
from meid_bench.training.run import run
from tests.toy import write_toy

SHORT = {"epochs": "2", "milestones": "1", "batch": "16"}
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
    assert [(r.method, r.seed) for r in requests] == [
        ("ldam", 0),
        ("eql", 0),
        ("ldam", 3),
        ("eql", 3),
    ]
    assert all(replace(r, method="", seed=0) == BASE for r in requests)
    assert [r.method for r in expand(BASE, ["all"], [0])] == list(registered())


@pytest.mark.parametrize(
    ("methods", "seeds", "sentence"),
    [
        ([], [0], "There is no method to run"),
        (["ldam"], [], "There is no seed to run"),
        (["ldam", "ldam"], [0], "A method stands twice in ldam, ldam"),
        (["all", "ldam"], [0], "A method stands twice"),
        (["ldam"], [1, 1], "A seed stands twice in 1, 1"),
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
    assert [o.request.method for o in failures(outcomes)] == [BREAKS, "plian"]
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
    common = ["run", "--dataset", "toy", "--aggregator", "nonlinear", "--root", str(tmp_path)]
    common += ["--device", "cpu"]
    for key, value in SHORT.items():
        common += ["--set", f"{key}={value}"]
    done = CliRunner().invoke(cli, [*common, "--method", "cbs,srs", "--seeds", "0,1"])
    assert done.exit_code == 0, done.output
    assert "[4/4] srs seed 1: test mAP 0." in done.output
    failed = CliRunner().invoke(cli, [*common, "--method", f"cbs,{BREAKS}"])
    assert failed.exit_code == 1
    assert "[1/2] cbs seed 0: test mAP" in failed.output and "was there already" in failed.output
    assert f"Error: 1 of 2 runs failed: {BREAKS} seed 0; the others are kept" in failed.output
    usage = CliRunner().invoke(cli, [*common, "--method", "cbs", "--seeds", "one"])
    assert usage.exit_code == 2 and "'one' is no list of whole numbers" in usage.output


def test_quick_and_equal_from_the_command_line(tmp_path: Path) -> None:
    write_toy(tmp_path)
    arguments = ["run", "--dataset", "toy", "--aggregator", "nonlinear", "--root", str(tmp_path)]
    arguments += ["--device", "cpu", "--method", "plain", "--set", "batch=16"]
    done = CliRunner().invoke(cli, [*arguments, "--quick", "--protocol", "equal"])
    assert done.exit_code == 0, done.output
    assert "Learning rates tried, val mAP: 0.0001: 0." in done.output
    assert "never enters the board" in done.output
