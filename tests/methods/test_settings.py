"""Settings: flat names at the edge, typed parts within."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from baselines.plain import Plain
from meid_bench.errors import SettingError
from meid_bench.methods.aggregators import NetVLADConfig, NonlinearConfig
from meid_bench.methods.method import MethodConfig
from meid_bench.methods.presets import preset_settings
from meid_bench.methods.settings import RunnerConfig, Settings, changed, parse_assignments
from meid_bench.methods.toy_task import TASK

SETTINGS = Settings(MethodConfig(), NetVLADConfig(), RunnerConfig())


def test_flat_names_lead_to_the_three_parts() -> None:
    values = {"lr": "0.5", "milestones": "3,6", "aggregator.clusters": 8, "clip": "1"}
    found = SETTINGS.changed(values)
    method = MethodConfig(lr=0.5, milestones=(3, 6))
    assert found == Settings(method, NetVLADConfig(clusters=8), RunnerConfig(clip=1.0))
    named = found.named()
    assert named["aggregator.clusters"] == 8 and named["milestones"] == [3, 6]
    assert SETTINGS.changed(named) == found  # what a record says is what was set


def test_idle_settings_are_not_recorded() -> None:
    bare = Settings(MethodConfig(), NonlinearConfig(hidden_layer=False), RunnerConfig())
    assert list(bare.idle(TASK)) == ["aggregator.dropout"]
    assert "aggregator.dropout" not in bare.recorded(TASK)
    assert "aggregator.dropout" in bare.named()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"lrr": 1}, "There is no setting 'lrr'; did you mean 'lr'?"),
        ({"clusters": 1}, "There is no setting 'clusters'; did you mean 'aggregator.clusters'?"),
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"epochs": "1.5"}, "Setting epochs is '1.5'; it must be a whole number"),
        ({"lr": 0.0}, "lr is 0.0; it must be between 0 and 1"),
        ({"lr": float("nan")}, "lr must be finite, not nan"),
        ({"milestones": (60, 30)}, "milestones is (60, 30); it must be in ascending order"),
        ({"batch": "0"}, "batch is 0; it must be at least 1"),
    ],
)
def test_what_is_no_setting_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingError) as refused:
        SETTINGS.changed(values)
    assert sentence in str(refused.value)


@dataclass(frozen=True)
class FolderConfig(MethodConfig):
    folder: Path = Path("there")


@dataclass(frozen=True)
class WrongConfig(MethodConfig):
    tau: int = 0.5  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (FolderConfig(), "Setting folder is .*, which no file can hold"),
        (WrongConfig(), "Setting tau must be int, not 0.5"),
    ],
)
def test_settings_that_no_record_gives_back_are_refused(
    config: MethodConfig, sentence: str
) -> None:
    with pytest.raises(SettingError, match=sentence):
        Settings(config, NetVLADConfig(), RunnerConfig()).check_storable()
    preset_settings(Plain, "nonlinear", None).check_storable()


def test_values_that_are_no_text_are_checked_too() -> None:
    assert changed(MethodConfig(), {"milestones": [9]}) == MethodConfig(milestones=(9,))
    with pytest.raises(SettingError, match="Setting epochs must be int, not True"):
        changed(MethodConfig(), {"epochs": True})


def test_assignments() -> None:
    assert parse_assignments(["a=1", " b = 2 ", "a=3"]) == {"a": "3", "b": "2"}
    for bad in ("nothing", "=1"):
        with pytest.raises(SettingError, match="not of the form key=value"):
            parse_assignments([bad])
