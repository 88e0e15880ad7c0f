"""Settings: typed, in three parts; `--set key=value` and a record name each by a flat name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, get_type_hints

from meid_bench.codec import Text, decode, decode_value, encode
from meid_bench.errors import MeidBenchError, SettingError, unknown
from meid_bench.methods.layers import AggregatorConfig
from meid_bench.methods.method import WHOLE_AGGREGATOR, MethodConfig, Task, require

T = TypeVar("T")

AGGREGATOR_PREFIX = "aggregator."
_PREFIXES = {"method": "", "aggregator": AGGREGATOR_PREFIX, "runner": ""}  # of the flat names


@dataclass(frozen=True)
class RunnerConfig:
    """Settings of the runner; presets may set them.

    Attributes:
        batch: Videos a step.
        clip: Largest norm of the gradient.
        training_frames: Frames drawn of a video in each step; None for the benchmark's own rule.
        with_replacement: Whether they are drawn with replacement, as VideoLT's code does.

    Reference: VideoLT's scripts: batch 128, clip 20 (the paper names neither).
    """

    batch: int = 128
    clip: float = 20.0
    training_frames: int | None = None
    with_replacement: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no training can use."""
        require(self.batch >= 1, "batch", self.batch, "at least 1")
        require(self.clip > 0, "clip", self.clip, "above 0")
        frames = self.training_frames
        require(frames is None or frames >= 1, "training_frames", frames, "at least 1, or none")


@dataclass(frozen=True)
class Settings:
    """Every setting that can move a number.

    `--set`, presets and records name them flatly: "lr" of the method, "aggregator.clusters" of the
    aggregator, "batch" of the runner. Only the functions here know these names.

    Attributes:
        method: Of the class that the method names as its Config.
        aggregator: The same of the aggregator.
        runner: The training loop's.
    """

    method: MethodConfig
    aggregator: AggregatorConfig
    runner: RunnerConfig

    def changed(self, values: Mapping[str, Any]) -> "Settings":
        """A copy with some values changed, by flat name; text is read by the field's type.

        Raises:
            SettingError: A name is unknown (the nearest is offered), or a value is of another type
                or out of range.
        """
        names = [prefix + field.name for _, prefix, field in self._fields()]
        for name in values:
            if name not in names:
                raise unknown("setting", name, names)
        parts: dict[str, dict[str, Any]] = {part: {} for part in _PREFIXES}
        for part, prefix, field in self._fields():
            if prefix + field.name in values:
                parts[part][field.name] = values[prefix + field.name]
        return Settings(**{p: changed(getattr(self, p), own) for p, own in parts.items()})

    def named(self) -> dict[str, Any]:
        """Every setting by its flat name, as JSON has it."""
        return {
            prefix + field.name: encode(getattr(getattr(self, part), field.name))
            for part, prefix, field in self._fields()
        }

    def idle(self, task: Task) -> dict[str, str]:
        """Flat name of a setting that changes nothing on a task -> why ("because ...")."""
        inner = self.aggregator.idle()
        idle = dict(self.method.idle(task))
        if WHOLE_AGGREGATOR in idle:
            names = (field.name for field in fields(self.aggregator))
            inner = dict.fromkeys(names, idle.pop(WHOLE_AGGREGATOR))
        named = {AGGREGATOR_PREFIX + name: reason for name, reason in inner.items()}
        return {**idle, **named}

    def recorded(self, task: Task) -> dict[str, Any]:
        """What a record says: `named` without idle settings."""
        idle = self.idle(task)
        return {name: value for name, value in self.named().items() if name not in idle}

    def check_storable(self) -> None:
        """Refuse a value that would not be read back from a file; before training, not after.

        Raises:
            SettingError: There is one.
        """
        for part in _PREFIXES:
            config = getattr(self, part)
            try:
                decode(type(config), encode(config, "Setting"), "Setting")
            except ValueError as error:
                raise SettingError(str(error).replace("Setting.", "Setting ", 1)) from error

    def _fields(self) -> list[tuple[str, str, Any]]:
        return [(p, prefix, f) for p, prefix in _PREFIXES.items() for f in fields(getattr(self, p))]


def changed(config: T, values: Mapping[str, Any]) -> T:
    """A copy of a frozen config with some settings changed.

    Args:
        config: A dataclass instance.
        values: Setting name -> value; text is read by the field's type.

    Raises:
        SettingError: A name is unknown (the nearest is offered), or the type or the config refuses
            the value.
    """
    hints = get_type_hints(type(config))
    typed = {}
    try:
        for name, value in values.items():
            if name not in hints:
                raise unknown("setting", name, hints)
            data = Text(value) if isinstance(value, str) else value
            typed[name] = decode_value(hints[name], data, f"Setting {name}")
        return replace(config, **typed)  # type: ignore[type-var]
    except MeidBenchError:
        raise
    except (ValueError, TypeError) as error:
        raise SettingError(str(error)) from error


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Split "key=value" strings; the last one of a key counts.

    Raises:
        SettingError: One has no "=".
    """
    pairs = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise SettingError(f"--set {assignment!r} is not of the form key=value")
        pairs[key.strip()] = value.strip()
    return pairs
