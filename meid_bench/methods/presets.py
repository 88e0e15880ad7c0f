"""Presets: which one a request gets, and its settings of method, aggregator and runner."""

from dataclasses import fields

from meid_bench.errors import unknown
from meid_bench.methods.aggregators import find_aggregator
from meid_bench.methods.method import Method
from meid_bench.methods.registry import find_method
from meid_bench.methods.settings import AGGREGATOR_PREFIX, RunnerConfig, Settings

DEFAULT_PRESET = "default"  # holds where no other is named
VIDEOLT_PRESET = "videolt"  # holds on VideoLT where none is named
METHOD_KEY = "method"  # the only setting of a preset that stands for another method


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
    if preset is None and published == "VideoLT" and VIDEOLT_PRESET in presets:
        preset = VIDEOLT_PRESET
    if preset is None or preset == DEFAULT_PRESET:
        return method, None
    if preset not in presets:
        raise unknown(f"preset of {method}", preset, {DEFAULT_PRESET, *presets})
    if METHOD_KEY in presets[preset]:
        return preset_in_force(presets[preset][METHOD_KEY], None, published)
    return method, preset


def has_preset(method: str, preset: str) -> bool:
    """Whether a method has a preset of that name; every one has "default"."""
    return preset in (DEFAULT_PRESET, *find_method(method).presets)


def preset_settings(kind: type[Method], aggregator: str, preset: str | None) -> Settings:
    """The settings that a preset of a method gives; None for what holds without one.

    A setting of an aggregator that the chosen one does not have is left out: a preset is written
    for all of them.

    Raises:
        SettingError: It names a setting that is of nothing, or a value that is out of range.
    """
    inner = find_aggregator(aggregator).Config()
    has = [AGGREGATOR_PREFIX + field.name for field in fields(inner)]
    return Settings(kind.Config(), inner, RunnerConfig()).changed(
        {
            name: value
            for name, value in kind.presets.get(preset or DEFAULT_PRESET, {}).items()
            if name in has or not name.startswith(AGGREGATOR_PREFIX)
        }
    )
