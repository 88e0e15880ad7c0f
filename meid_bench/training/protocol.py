"""Protocol: a run's settings, after its method's own schedule or one that is equal for all."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, TypeVar

from meid_bench.errors import MethodError, SettingError
from meid_bench.methods.aggregators import NonlinearConfig, aggregator_maker
from meid_bench.methods.method import (
    IN_EPOCHS,
    LEARNING_RATE,
    SEARCHED,
    Method,
    MethodConfig,
    Stage,
)
from meid_bench.methods.presets import preset_settings
from meid_bench.methods.settings import Settings
from meid_bench.methods.toy_task import TASK
from meid_bench.training.model import stages_of

Protocol = Literal["paper", "equal"]
PROTOCOLS: tuple[Protocol, ...] = ("paper", "equal")
# Learning rates that protocol "equal" tries with both values of a method's searched setting; and
# where a method has none, so that every method has the same number of trials.
RATES = (1e-4, 3e-4, 1e-3)
FINE_RATES = (1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3)
EQUAL_EPOCHS = 100  # of all stages together under protocol "equal"
QUICK = 0.1  # what `--quick` leaves of a schedule

Config = TypeVar("Config", bound=MethodConfig)


def resolve(
    kind: type[Method],
    aggregator: str,
    preset: str | None,
    values: Mapping[str, Any],
    protocol: Protocol = "paper",
    quick: bool = False,
) -> Settings:
    """The settings of a run: defaults, then the preset's, then the values of `--set`.

    `quick` shortens what is not among the values. Under protocol "equal" the learning rates are
    the first of `RATES`.

    Raises:
        SettingError: A name is unknown (the nearest is offered), a value is out of range or fits
            into no record, or the protocol chooses it.
    """
    if protocol == "equal":
        for mark in (LEARNING_RATE, IN_EPOCHS, SEARCHED):
            for name in settings_marked(kind.Config, mark):
                if name in values:
                    raise SettingError(
                        f"Setting {name} is chosen by protocol equal; leave it out, or use "
                        "--protocol paper"
                    )
    settings = preset_settings(kind, aggregator, preset)
    if quick and protocol == "paper":
        settings = replace(settings, method=scaled(settings.method, QUICK))
    settings = settings.changed(values)
    if protocol == "equal":
        epochs = round(EQUAL_EPOCHS * (QUICK if quick else 1))
        settings = replace(settings, method=equalised(kind, settings.method, epochs))
    settings.check_storable()
    return settings


def settings_marked(config: MethodConfig | type[MethodConfig], mark: str) -> tuple[str, ...]:
    """Names of the settings declared with `learning_rate`, `in_epochs` or `searched`."""
    return tuple(field.name for field in fields(config) if field.metadata.get(mark))


def trials_of(kind: type[Method]) -> tuple[dict[str, Any], ...]:
    """What protocol "equal" tries: the settings of each trial, six trials for every method.

    All learning rates of a method are the same in a trial.

    Raises:
        MethodError: More than one setting is declared with `searched`.
    """
    several = [field for field in fields(kind.Config) if SEARCHED in field.metadata]
    if len(several) > 1:
        raise MethodError(
            f"{kind.__name__}.Config declares {len(several)} settings with searched(), "
            f"{' and '.join(field.name for field in several)}; protocol equal takes one"
        )
    if not several:
        return tuple(_rates(kind, rate) for rate in FINE_RATES)
    (setting,) = several
    values = setting.metadata[SEARCHED]
    return tuple(_rates(kind, rate) | {setting.name: value} for value in values for rate in RATES)


def _rates(kind: type[Method], rate: float) -> dict[str, Any]:
    """The same rate for every learning rate of a method, by name."""
    return dict.fromkeys(settings_marked(kind.Config, LEARNING_RATE), rate)


def scaled(config: Config, factor: float) -> Config:
    """A schedule of another length: every setting counted in epochs times `factor`.

    An epoch number that was not 0 stays at least 1, and milestones that meet become one.
    """

    def scale(epoch: int) -> int:
        return max(round(epoch * factor), min(epoch, 1))

    values: dict[str, Any] = {}
    for name in settings_marked(config, IN_EPOCHS):
        value = getattr(config, name)
        several = isinstance(value, tuple)
        values[name] = tuple(sorted(set(map(scale, value)))) if several else scale(value)
    return replace(config, **values)


def equalised(kind: type[Method], config: Config, epochs: int) -> Config:
    """A method's schedule stretched or shortened to a number of epochs, all stages together.

    Raises:
        SettingError: The method's stages do not follow its settings.
    """
    own = sum(stage.epochs for stage in _stages(kind, config))
    found = scaled(config, epochs / own)
    found = replace(found, **_rates(kind, RATES[0]))
    stages = _stages(kind, found)
    # Rounding may cost each stage a half.
    if abs(sum(stage.epochs for stage in stages) - epochs) > len(stages) / 2:
        raise SettingError(
            f"Protocol equal gives {epochs} epochs, and the stages of {kind.__name__} have "
            f"{[stage.epochs for stage in stages]}; declare settings counted in epochs with "
            "in_epochs(), and take the stages' from them"
        )
    if any(stage.lr != RATES[0] for stage in stages):
        raise SettingError(
            f"Protocol equal trains every stage at {RATES[0]:g}, and the stages of "
            f"{kind.__name__} have {[stage.lr for stage in stages]}; declare learning rates with "
            "learning_rate(), and take the stages' from them"
        )
    return found


def _stages(kind: type[Method], config: MethodConfig) -> Sequence[Stage]:
    make = aggregator_maker("nonlinear", NonlinearConfig(), TASK.frames)
    return stages_of(lambda: kind(TASK, config, make))
