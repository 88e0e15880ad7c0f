"""A run from a built benchmark and a feature store to its record, and what it refuses."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.plain import Plain, PlainConfig
from meid_bench.benchmark.benchmark import load_benchmark, save_benchmark
from meid_bench.errors import DataError, MeidBenchError, MethodError, SettingError
from meid_bench.files import benchmark_dir
from meid_bench.methods.contract import check_method
from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.method import Batch, Method, MethodConfig, Stage, Task
from meid_bench.results.metrics import evaluate_scores
from meid_bench.results.record import (
    CURVE,
    RECORD,
    VAL_SCORES,
    Result,
    load_result,
    load_scores,
    read_curve,
)
from meid_bench.training.model import load_model
from meid_bench.training.request import Plan, Request, plan_run
from meid_bench.training.run import run
from tests.toy import CLASSES, numbers, on_toy, write_toy

CPU = torch.device("cpu")
SHORT = {"epochs": "3", "milestones": "2", "batch": "16"}


def request(method: str = "plain", **changes: object) -> Request:
    base = Request(method=method, dataset="toy", aggregator="nonlinear", settings=SHORT)
    return replace(base, **changes)  # type: ignore[arg-type]


def run_once(root: Path, **changes: object) -> tuple[Plan, Result]:
    planned = plan_run(request(**changes), root)  # type: ignore[arg-type]
    return planned, run(planned, CPU)


@pytest.mark.parametrize("method", ["plain", "meid"])
def test_the_same_seed_gives_the_same_bits(method: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_toy(tmp_path / name)
    first, one = run_once(tmp_path / "a", method=method)
    second, two = run_once(tmp_path / "b", method=method)
    assert numbers(one) == numbers(two)
    assert np.array_equal(load_scores(first.folder)[1], load_scores(second.folder)[1])
    assert (first.folder / CURVE).read_text() == (second.folder / CURVE).read_text()


def test_another_seed_gives_other_numbers(toy_root: Path) -> None:
    assert run_once(toy_root)[1].test != run_once(toy_root, seed=1)[1].test


def test_the_record_holds_what_the_scores_say(toy_root: Path) -> None:
    planned, result = run_once(toy_root, method="meid")
    benchmark = load_benchmark("toy", toy_root)
    ids, scores = load_scores(planned.folder)
    assert ids == benchmark.ids("test")
    assert evaluate_scores(scores, benchmark.labels("test"), benchmark.groups) == result.test
    ids, scores = load_scores(planned.folder / VAL_SCORES)
    assert ids == benchmark.ids("val")
    assert evaluate_scores(scores, benchmark.labels("val"), benchmark.groups) == result.val
    assert load_result(planned.folder) == result
    assert result.benchmark_fingerprint == benchmark.fingerprint
    assert [stage.name for stage in result.stages] == ["first expert", "second expert"]
    assert result.epochs == 6
    assert result.settings["epochs"] == 3 and result.settings["batch"] == 16
    assert result.settings["aggregator.dropout"] == 0.5


def test_the_reported_epoch_is_the_earliest_best_on_val(toy_root: Path) -> None:
    planned, result = run_once(toy_root, method="meid")
    curve = read_curve(planned.folder)
    assert len(curve) == 6
    for stage in result.stages:
        maps = [point.val["overall"] for point in curve if point.stage == stage.name]
        assert stage.best_epoch == int(np.argmax(maps))
        assert stage.best_val_map == max(maps)
    assert result.epoch == result.stages[-1].best_epoch
    assert result.val is not None and result.last_epoch_val is not None
    assert result.val.overall == pytest.approx(result.stages[-1].best_val_map, abs=1e-6)
    assert result.last_epoch_val.overall == pytest.approx(curve[-1].val["overall"], abs=1e-6)


def test_the_saved_model_gives_the_recorded_scores(toy_root: Path) -> None:
    planned, _ = run_once(toy_root, method="meid")
    _, method = load_model(planned.folder, CPU)
    features = torch.from_numpy(planned.store.read(planned.benchmark.ids("test"))).float()
    with torch.no_grad():
        scores = method(features).sigmoid().numpy()
    np.testing.assert_allclose(scores, load_scores(planned.folder)[1], atol=1e-6)


def test_a_finished_run_is_not_run_again(toy_root: Path) -> None:
    planned, result = run_once(toy_root, seed=5)
    before = (planned.folder / RECORD).stat().st_mtime_ns
    again = plan_run(request(seed=5), toy_root)
    assert again.finished
    assert run(again, CPU) == result
    assert (planned.folder / RECORD).stat().st_mtime_ns == before


def test_every_file_of_a_run_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_toy(tmp_path)
        run_once(tmp_path)
    finally:
        os.umask(old)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.*")}
    assert "model.safetensors" in modes
    assert {name: oct(mode) for name, mode in modes.items() if mode != 0o640} == {}


def test_an_interrupted_run_leaves_no_record_and_a_second_try_succeeds(toy_root: Path) -> None:
    planned = plan_run(request(seed=6), toy_root)
    epochs = iter([None])

    def interrupt(point: object) -> None:
        if next(epochs, "stop") == "stop":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(planned, CPU, interrupt)
    assert not planned.finished
    run(planned, CPU)
    assert planned.finished
    assert len(read_curve(planned.folder)) == 3


def test_missing_features_are_refused_or_scored_zero(tmp_path: Path) -> None:
    benchmark = write_toy(tmp_path, without=("test003", "train001", "train002"))
    with pytest.raises(DataError, match=r"3 listed videos .* --allow-missing 3"):
        plan_run(request(), tmp_path)
    planned, result = run_once(tmp_path, allow_missing=3)
    assert result.missing == {"train": ("train001", "train002"), "test": ("test003",)}
    ids, scores = load_scores(planned.folder)
    assert ids == benchmark.ids("test")
    assert (scores[ids.index("test003")] == 0).all()
    assert (scores[ids.index("test004")] > 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "pleid"}, "There is no method 'pleid'; did you mean"),
        ({"method": "nowhere:Thing"}, "no module 'nowhere'"),
        ({"dataset": "charades-lt"}, "no built benchmark 'charades-lt'"),
        ({"aggregator": "nextvald"}, "did you mean 'nextvlad'"),
        ({"network": "e2"}, "There is no network 'e2'"),
        ({"preset": "videolr"}, "did you mean 'videolt'"),
        ({"features": "resnet"}, "There is no feature store of toy 'resnet'"),
        ({"settings": {"epoch": "3"}}, "did you mean 'epochs'"),
        ({"settings": {"epochs": "many"}}, "epochs is 'many'; it must be a whole number"),
        ({"settings": {"epochs": "0"}}, "epochs is 0; it must be at least 1"),
        ({"settings": {"training_frames": "9"}}, "the features have 8 frames"),
        ({"settings": {"aggregator.dropout": "1"}}, "dropout is 1.0; it must be in"),
        ({"settings": {"milestones": "9,3"}}, "ascending"),
    ],
)
def test_what_cannot_run_is_refused_in_a_sentence(
    toy_root: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(MeidBenchError, match=message):
        plan_run(request(**change), toy_root)  # type: ignore[arg-type]


def test_a_batch_larger_than_the_data_is_refused(toy_root: Path) -> None:
    with pytest.raises(SettingError, match="--set batch=48 or less"):
        run_once(toy_root, settings={"batch": "49"})


def test_features_of_another_version_of_the_benchmark_are_refused(tmp_path: Path) -> None:
    benchmark = write_toy(tmp_path)
    moved = dict(benchmark.splits)
    moved["val"], moved["test"] = moved["test"], moved["val"]
    save_benchmark(replace(benchmark, splits=moved), benchmark_dir(tmp_path, "toy"))
    with pytest.raises(DataError, match="of another version of toy"):
        plan_run(request(), tmp_path)


class Broken(Method):
    """Returns what `fault` says."""

    fault = "shape"

    def __init__(self, task, config, make_aggregator):  # type: ignore[no-untyped-def]
        super().__init__(task, config, make_aggregator)
        self.aggregator = make_aggregator(task.width, task.classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.aggregator(x)
        return logits[:, 1:] if self.fault == "shape" else logits

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> torch.Tensor:
        loss = self.aggregator(batch.features).square().mean()
        return loss * float("nan") if self.fault == "nan" else loss

    def trainable(self, stage: Stage):  # type: ignore[no-untyped-def]
        return [] if self.fault == "frozen" else self.parameters()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("shape", rf"shape \(16, {CLASSES - 1}\); expected \(16, {CLASSES}\)"),
        ("nan", "the loss is nan in stage 'train', epoch 0"),
        ("frozen", "no trainable parameter in stage 'train'"),
    ],
)
def test_a_method_that_breaks_its_contract_is_named(
    toy_root: Path, fault: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broken, "fault", fault)
    planned = plan_run(request(method="tests.training.test_run:Broken"), toy_root)
    with pytest.raises(MethodError, match=message):
        run(planned, CPU)
    assert not planned.finished


def test_the_command_prints_the_numbers_and_where_they_are(toy_root: Path) -> None:
    line = ["run", "--method", "plain", "--seed", "9"]
    done = on_toy(toy_root, line, SHORT)
    assert done.exit_code == 0, done.output
    assert "Test mAP 0." in done.output and "chosen on val" in done.output
    refused = on_toy(toy_root, [*line, "--set", "nothing"])
    assert refused.exit_code == 1
    assert "Error: --set 'nothing' is not of the form key=value" in refused.output


class LooksAtItself(Plain):
    """Its __init__ reads numbers out of tensors, as margins and weights often do."""

    def __init__(self, task: Task, config: MethodConfig, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        counts = torch.tensor(task.counts).float()
        self.rarest = counts.min().item()
        self.weights = torch.from_numpy(counts.numpy()) / self.rarest
        self.norm = float(next(self.parameters()).detach().norm())


def test_what_passes_check_runs(toy_root: Path) -> None:
    """`run` built every method on the meta device first, where `.item()` is an error."""
    assert [clause for clause in check_method(LooksAtItself, "nonlinear") if clause.problem] == []
    _, result = run_once(toy_root, method="tests.training.test_run:LooksAtItself")
    assert result.epochs == 3


@dataclass(frozen=True)
class TypedConfig(PlainConfig):
    """Settings of every kind that JSON has."""

    rates: list[float] = field(default_factory=lambda: [0.1])
    groups: Sequence[int] = (1,)
    weights: dict[str, float] = field(default_factory=dict)
    anything: Any = None


class Typed(Plain):
    """A third party's method."""

    Config = TypedConfig


def test_settings_of_any_kind_run_and_come_back(toy_root: Path) -> None:
    given = {"rates": "0.9", "groups": "2,3", "weights": '{"a": 1}', "anything": "[1, [2]]"}
    planned, result = run_once(
        toy_root, method="tests.training.test_run:Typed", settings={**SHORT, **given}
    )
    as_json = {"rates": [0.9], "groups": [2, 3], "weights": {"a": 1.0}, "anything": [1, [2]]}
    assert {name: result.settings[name] for name in given} == as_json
    _, method = load_model(planned.folder, CPU)
    assert method.config == TypedConfig(
        epochs=3,
        milestones=(2,),
        rates=[0.9],
        groups=(2, 3),
        weights={"a": 1.0},
        anything=[1, [2]],
    )
    assert planned.model.settings.method == method.config
    assert load_result(planned.folder) == result
