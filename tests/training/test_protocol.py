"""Protocols: schedules that scale, a rate that val chooses, and what the record says of it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from baselines.framestack import FrameStackConfig
from baselines.ldam import LDAM, LDAMConfig
from baselines.plain import Plain
from meid.method import MEID
from meid_bench.errors import MethodError, SettingError
from meid_bench.methods.contract import Subject
from meid_bench.methods.method import (
    AggregatorMethod,
    Batch,
    MethodConfig,
    Stage,
    in_epochs,
    searched,
)
from meid_bench.methods.registry import find_method, registered
from meid_bench.results.board import load_board
from meid_bench.results.record import RECORD, load_result, load_scores, read_curve
from meid_bench.training.model import load_model
from meid_bench.training.protocol import (
    EQUAL_EPOCHS,
    FINE_RATES,
    RATES,
    equalised,
    resolve,
    scaled,
    trials_of,
)
from meid_bench.training.request import Request, plan_run
from meid_bench.training.run import run
from tests.methods.test_contract import METHODS
from tests.toy import write_toy

CPU = torch.device("cpu")
REQUEST = Request("meid", dataset="toy", aggregator="nonlinear", settings={"batch": "16"})


def test_milestones_and_ldams_epoch_scale_along() -> None:
    tenth = scaled(LDAMConfig(), 0.1)
    assert (tenth.epochs, tenth.milestones, tenth.reweight_epoch) == (10, (3, 6), 5)
    assert tenth.lr == LDAMConfig().lr
    assert scaled(FrameStackConfig(), 0.1).warm_epoch == 0  # 0 is no length
    shortest = scaled(LDAMConfig(), 0.001)
    assert (shortest.epochs, shortest.milestones, shortest.reweight_epoch) == (1, (1,), 1)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("epochs", [EQUAL_EPOCHS, 10])
def test_every_method_gets_the_same_epochs_and_the_same_rates(name: str, epochs: int) -> None:
    kind = find_method(name)
    config = equalised(kind, kind.Config(), epochs)
    stages = Subject(kind, "nonlinear").build(config).stages()
    assert sum(stage.epochs for stage in stages) == epochs
    assert {stage.lr for stage in stages} == {RATES[0]}
    for stage in stages:
        shares = {max(round(share * stage.epochs), 1) for share in (0.3, 0.6)}
        assert stage.milestones == tuple(sorted(shares))


@dataclass(frozen=True)
class StubbornConfig(MethodConfig):
    fixed: bool = True
    more: int = in_epochs(7)


class Stubborn(AggregatorMethod):
    """Its stages do not follow its settings."""

    Config = StubbornConfig

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> torch.Tensor:
        return self(batch.features).square().mean()

    def stages(self) -> tuple[Stage, ...]:
        epochs = 30 if self.config.fixed else self.config.epochs
        return (Stage("train", epochs, 0.05),)


@pytest.mark.parametrize(
    ("fixed", "sentence"),
    [(True, r"stages of Stubborn have \[30\]; .*in_epochs"), (False, r"have \[0.05\].*_rate\(\)")],
)
def test_a_method_that_cannot_be_equal_is_told_why(fixed: bool, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        equalised(Stubborn, StubbornConfig(fixed=fixed), EQUAL_EPOCHS)


def test_quick_shortens_what_is_not_asked_for() -> None:
    assert resolve(LDAM, "nonlinear", None, {}, quick=True).method == LDAMConfig(
        epochs=10, milestones=(3, 6), reweight_epoch=5
    )
    given = resolve(LDAM, "nonlinear", None, {"epochs": "40"}, quick=True).method
    assert (given.epochs, given.milestones) == (40, (3, 6))
    equal = resolve(MEID, "nonlinear", "videolt", {}, "equal", quick=True).named()
    assert equal["epochs"] == 5 and equal["mask_other_positives"] is True


@pytest.mark.parametrize("name", ["lr", "lr2", "epochs", "milestones"])
def test_equal_refuses_what_it_chooses(name: str) -> None:
    with pytest.raises(SettingError, match=f"Setting {name} is chosen by protocol equal"):
        resolve(MEID, "nonlinear", None, {name: "3"}, "equal")


def test_an_unknown_protocol_is_refused(toy_root: Path) -> None:
    with pytest.raises(SettingError, match="There is no protocol 'equel'; did you mean 'equal'"):
        plan_run(replace(REQUEST, protocol="equel"), toy_root)  # type: ignore[arg-type]


def test_a_quick_run_says_so_and_stays_off_the_board(toy_root: Path) -> None:
    planned = plan_run(replace(REQUEST, method="ldam", quick=True), toy_root)
    result = run(planned, CPU)
    assert result.quick and result.epochs == 10
    assert planned.folder != plan_run(replace(REQUEST, method="ldam"), toy_root).folder
    board = load_board("toy", toy_root)
    assert all(not record.quick for row in board.rows for record in row.runs.values())
    assert any("quick" in sentence for sentence in board.left_out)


@pytest.fixture(scope="module")
def equal(toy_root: Path) -> tuple[Any, Any]:
    planned = plan_run(replace(REQUEST, protocol="equal", quick=True), toy_root)
    return planned, run(planned, CPU)


def test_equal_records_every_trial_and_reports_the_best_on_val(equal: tuple[Any, Any]) -> None:
    planned, result = equal
    assert tuple(trial.settings["lr"] for trial in result.trials) == FINE_RATES
    best = max(result.trials, key=lambda trial: trial.val_map)
    assert result.val.overall == best.val_map
    assert len({trial.val_map for trial in result.trials}) > 1
    assert result.protocol == "equal"
    assert result.settings["lr"] == result.settings["lr2"] == list(FINE_RATES)
    assert read_curve(planned.folder)[0].lr == best.settings["lr"]


def test_every_method_has_the_same_number_of_trials() -> None:
    assert {len(trials_of(find_method(name))) for name in registered()} == {6}
    tried = trials_of(find_method("asl"))
    assert {trial["lr"] for trial in tried} == set(RATES)
    assert {trial["gamma_neg"] for trial in tried} == {2.0, 4.0}


def test_a_setting_that_equal_searches_cannot_be_set(toy_root: Path) -> None:
    request = replace(REQUEST, method="asl", protocol="equal", settings={"gamma_neg": "2"})
    with pytest.raises(SettingError, match="gamma_neg is chosen by protocol equal"):
        plan_run(request, toy_root)


def test_only_one_setting_may_be_searched() -> None:
    @dataclass(frozen=True)
    class Two(MethodConfig):
        one: float = searched(1.0, (1.0, 2.0))
        other: float = searched(1.0, (1.0, 2.0))

    class Searching(Plain):
        Config = Two

    with pytest.raises(MethodError, match="one and other; protocol equal takes one"):
        trials_of(Searching)


def test_equal_leaves_one_whole_run(equal: tuple[Any, Any], toy_root: Path) -> None:
    planned, result = equal
    assert load_result(planned.folder) == result
    assert [path.name for path in planned.folder.iterdir() if path.is_dir()] == []
    _, method = load_model(planned.folder, CPU)
    features = torch.from_numpy(planned.store.read(planned.benchmark.ids("test"))).float()
    with torch.no_grad():
        scores = method(features).sigmoid()
    torch.testing.assert_close(scores, torch.from_numpy(load_scores(planned.folder)[1]))
    again = plan_run(planned.request, toy_root)
    assert again.finished and run(again, CPU) == result


def test_finished_trials_are_not_run_again(toy_root: Path) -> None:
    planned = plan_run(replace(REQUEST, method="plain", protocol="equal", quick=True), toy_root)
    first = planned.trial(0)
    run(first, CPU)
    before = (first.folder / RECORD).stat().st_mtime_ns
    seen = []

    def log(point: Any) -> None:
        seen.append(point.lr)
        if len(seen) == 1:
            assert (first.folder / RECORD).stat().st_mtime_ns == before

    result = run(planned, CPU, log)
    assert seen[0] == FINE_RATES[1]  # the first rate was there
    assert len(result.trials) == 6


def test_the_board_keeps_the_protocols_apart(tmp_path: Path) -> None:
    write_toy(tmp_path)
    short = {"epochs": "2", "milestones": "1", "batch": "16"}
    run(plan_run(replace(REQUEST, method="plain", settings=short), tmp_path), CPU)
    planned = plan_run(replace(REQUEST, method="plain", protocol="equal", quick=True), tmp_path)
    result = run(planned, CPU)
    (planned.folder / RECORD).write_text(
        (planned.folder / RECORD).read_text().replace('"quick": true', '"quick": false')
    )
    assert result.quick
    sections = load_board("toy", tmp_path).sections
    assert sorted(section.protocol or "" for section in sections) == ["equal", "paper"]
    assert [len(section.rows) for section in sections] == [1, 1]


def test_seeds_of_protocol_equal_are_one_row_whatever_rate_each_chose(tmp_path: Path) -> None:
    write_toy(tmp_path)
    records = []
    for seed in (0, 1):
        request = replace(REQUEST, method="plain", protocol="equal", quick=True, seed=seed)
        planned = plan_run(request, tmp_path)
        records.append(run(planned, CPU))
        path = planned.folder / RECORD
        path.write_text(path.read_text().replace('"quick": true', '"quick": false'))
    assert records[0].settings == records[1].settings
    (row,) = load_board("toy", tmp_path).rows
    assert row.seeds == (0, 1)
