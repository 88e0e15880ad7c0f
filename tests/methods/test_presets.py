"""Presets: what one sets of method, runner and aggregator, and what stands above it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from baselines.plain import Plain
from meid_bench.benchmark.benchmark import save_benchmark
from meid_bench.errors import SettingError
from meid_bench.files import benchmark_dir
from meid_bench.methods.aggregators import AGGREGATORS, NetVLADConfig
from meid_bench.methods.contract import check_method
from meid_bench.methods.method import AggregatorMethod, Batch, Stage
from meid_bench.methods.presets import preset_in_force
from meid_bench.methods.registry import find_method, registered
from meid_bench.results.repeat_command import repeat_command
from meid_bench.training.protocol import resolve
from meid_bench.training.request import Plan, Request, plan_run
from tests.made_records import make_result
from tests.toy import toy_benchmark, write_toy


class Preset(Plain):
    """One of every kind."""

    presets = {  # noqa: RUF012
        "default": {"lr": 0.002, "batch": 24},
        "videolt": {"lr": 0.003},
        "large": {"batch": 40, "clip": 5.0, "milestones": (2,), "aggregator.dropout": 0.25},
        "vlad": {"aggregator.clusters": 16, "epochs": 30},
        "other": {"method": "ldam"},
        "misspelt": {"bacth": 40},
        "wrong": {"batch": 0},
    }


class Sound(AggregatorMethod):
    """Its presets are all right."""

    presets = {"large": {"batch": 40, "aggregator.clusters": 16}, "other": {"method": "ldam"}}  # noqa: RUF012

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> torch.Tensor:
        return torch.nn.functional.binary_cross_entropy_with_logits(
            self(batch.features), batch.labels
        )


METHOD = f"{__name__}:Preset"


def planned(root: Path, preset: str | None, method: str = METHOD, **settings: Any) -> Plan:
    return plan_run(
        Request(method, "toy", aggregator="nonlinear", preset=preset, settings=settings), root
    )


def test_a_preset_sets_method_runner_and_aggregator(toy_root: Path) -> None:
    found = planned(toy_root, "large")
    assert (found.preset, found.runner.batch, found.runner.clip) == ("large", 40, 5.0)
    wanted = {"milestones": [2], "aggregator.dropout": 0.25, "batch": 40, "lr": 0.001}
    assert {name: found.settings[name] for name in wanted} == wanted
    assert "large" in found.folder.name


def test_what_the_user_sets_stands_above_it(toy_root: Path) -> None:
    found = planned(toy_root, "large", batch="8", milestones="1,3", **{"aggregator.dropout": "0"})
    assert (found.runner.batch, found.runner.clip) == (8, 5.0)
    assert found.settings["milestones"] == [1, 3]
    assert found.settings["aggregator.dropout"] == 0.0


@pytest.mark.parametrize("name", [None, "default"])
def test_without_a_preset_the_methods_own_default_holds(toy_root: Path, name: str | None) -> None:
    found = planned(toy_root, name)
    assert (found.preset, found.runner.batch, found.settings["lr"]) == (None, 24, 0.002)
    assert found.folder == planned(toy_root, None).folder


def test_videolts_preset_holds_on_videolt_alone(tmp_path: Path) -> None:
    write_toy(tmp_path)
    save_benchmark(replace(toy_benchmark(), published="VideoLT"), benchmark_dir(tmp_path, "toy"))
    assert planned(tmp_path, None).preset == "videolt"
    assert planned(tmp_path, "default").preset is None
    assert planned(tmp_path, None, "mixup").settings["lr"] == 1e-4


def test_an_aggregators_setting_is_left_out_where_another_is_chosen() -> None:
    settings = resolve(Preset, "nonlinear", "vlad", {})
    assert settings.method.epochs == 30 and "aggregator.clusters" not in settings.named()
    assert resolve(Preset, "netvlad", "vlad", {}).aggregator == NetVLADConfig(clusters=16)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("method", registered())
def test_every_registered_preset_holds_with_every_aggregator(method: str, aggregator: str) -> None:
    for preset in (None, *find_method(method).presets):
        led, chosen = preset_in_force(method, preset, None)
        resolve(find_method(led), aggregator, chosen, {})


def test_a_shortened_schedule_shortens_the_presets_too() -> None:
    assert resolve(Preset, "nonlinear", "vlad", {}, quick=True).method.epochs == 3


def test_a_preset_may_lead_to_another_method(toy_root: Path) -> None:
    found = planned(toy_root, "other", margin="summed")
    assert (found.model.method, found.request.method, found.preset) == ("ldam", "ldam", None)
    assert found.settings["margin"] == "summed"
    assert found.folder == planned(toy_root, None, "ldam", margin="summed").folder


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("larg", "no preset of .*Preset 'larg'; did you mean 'large'"),
     ("misspelt", "no setting 'bacth'; did you mean 'batch'"),
     ("wrong", "Setting batch is 0; it must be at least 1")],
)  # fmt: skip
def test_what_is_wrong_with_a_preset_is_said(toy_root: Path, name: str, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        planned(toy_root, name)


def test_the_command_of_a_record_does_not_repeat_what_the_preset_sets() -> None:
    everything = resolve(Plain, "nonlinear", "videolt", {"batch": 16}).named()
    record = make_result(
        aggregator="nonlinear", preset="videolt", settings=everything, changed=("batch",)
    )
    command = repeat_command(record) or ""
    assert command.endswith("--preset videolt --seed 0 --set batch=16")


def test_the_contract_tries_every_preset() -> None:
    def problem(kind: type[AggregatorMethod]) -> str | None:
        return check_method(kind, "nonlinear")[0].problem

    assert problem(Sound) is None
    assert "bacth" in (problem(Preset) or "")
