"""Presets: which one holds for a request, and what it sets of method, aggregator and runner."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meid_bench.errors import unknown
from meid_bench.methods.aggregators import AGGREGATOR_PREFIX, find_aggregator
from meid_bench.methods.method import Method
from meid_bench.methods.registry import find_method
from meid_bench.methods.runner_config import RunnerConfig
from meid_bench.settings import setting_names

DEFAULT = "default"  # what holds where no preset does; a method may say what that sets
VIDEOLT = "videolt"  # holds on VideoLT by itself
METHOD = "method"  # in a preset, alone: the method of its own that it stands for


def preset_in_force(
    method: str, preset: str | None, published: str | None
) -> tuple[str, str | None]:
    """The method and the preset that a request for a preset comes to.

    Args:
        method: Registered name, or module:Class.
        preset: As the user names it; "default" for none, None for the benchmark's own.
        published: `Benchmark.published` of what is trained on.

    Raises:
        SettingError: There is no such method, or it has no such preset.
    """
    presets = find_method(method).presets
    if preset is None and published == "VideoLT" and VIDEOLT in presets:
        preset = VIDEOLT
    if preset is None or preset == DEFAULT:
        return method, None
    if preset not in presets:
        raise unknown(f"preset of {method}", preset, {DEFAULT, *presets})
    if METHOD in presets[preset]:
        return preset_in_force(presets[preset][METHOD], None, published)
    return method, preset


def has_preset(method: str, preset: str) -> bool:
    """Whether a method has a preset of that name; every one has "default"."""
    return preset in (DEFAULT, *find_method(method).presets)


@dataclass(frozen=True)
class Divided:
    """Settings by what they are of; the aggregator's without their prefix."""

    method: Mapping[str, Any]
    runner: Mapping[str, Any]
    aggregator: Mapping[str, Any]


def divided(kind: type[Method], aggregator: str, settings: Mapping[str, Any]) -> Divided:
    """Divide settings, named as in `--set`.

    Raises:
        SettingError: One is of neither of the three; the nearest name is offered.
    """
    own, general = setting_names(kind.Config), setting_names(RunnerConfig)
    inner = [AGGREGATOR_PREFIX + name for name in setting_names(find_aggregator(aggregator).Config)]
    for name in settings:
        if name not in [*own, *general, *inner]:
            raise unknown(f"setting of {kind.__name__}", name, [*own, *general, *inner])
    return Divided(
        method={name: value for name, value in settings.items() if name in own},
        runner={name: value for name, value in settings.items() if name in general},
        aggregator={
            name.removeprefix(AGGREGATOR_PREFIX): value
            for name, value in settings.items()
            if name in inner
        },
    )


def preset_settings(kind: type[Method], aggregator: str, preset: str | None) -> Divided:
    """What a preset of a method sets; None for what holds without one.

    A setting of an aggregator that the chosen one does not have is left out: a preset is written
    for all of them.

    Raises:
        SettingError: It names a setting that is of nothing.
    """
    inner = setting_names(find_aggregator(aggregator).Config)
    settings = {
        name: value
        for name, value in kind.presets.get(preset or DEFAULT, {}).items()
        if not name.startswith(AGGREGATOR_PREFIX) or name.removeprefix(AGGREGATOR_PREFIX) in inner
    }
    return divided(kind, aggregator, settings)
