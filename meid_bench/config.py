"""Settings: frozen dataclasses, changed by `--set key=value` with the field's own type."""

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, TypeVar

from meid_bench.errors import MeidBenchError, SettingError, unknown

T = TypeVar("T")


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


def setting_names(config: object) -> list[str]:
    """Names of a config's settings (of a class or of an instance)."""
    return [field.name for field in fields(config)]  # type: ignore[arg-type]


def changed(config: T, values: Mapping[str, Any]) -> T:
    """A copy of a frozen config with some settings changed.

    Args:
        config: A dataclass instance.
        values: Setting name -> value; strings are read by the field's type.

    Raises:
        SettingError: A name is unknown (the nearest is offered), a string cannot be read as the
            field's type, or the config refuses the value.
    """
    hints = typing.get_type_hints(type(config))
    typed = {}
    for name, value in values.items():
        if name not in hints:
            raise unknown("setting", name, hints)
        typed[name] = parse(name, value, hints[name]) if isinstance(value, str) else value
    try:
        return replace(config, **typed)  # type: ignore[type-var]
    except MeidBenchError:
        raise
    except (ValueError, TypeError) as error:
        raise SettingError(str(error)) from error


def parse(name: str, text: str, kind: Any) -> Any:
    """Read `text` as a value of a field's type.

    Raises:
        SettingError: It is no such value; what was expected is named.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if text not in arguments:
            raise unknown(f"value for setting {name}:", text, arguments)
        return text
    if origin in (types.UnionType, typing.Union):
        if text.lower() == "none" and type(None) in arguments:
            return None
        return parse(name, text, next(kind for kind in arguments if kind is not type(None)))
    if origin is tuple:
        parts = [part for part in text.strip("()[] ").split(",") if part.strip()]
        return tuple(parse(name, part.strip(), arguments[0]) for part in parts)
    if kind is bool:
        lowered = text.lower()
        if lowered not in _TRUTH:
            raise SettingError(f"Setting {name} is {text!r}; it must be true or false")
        return _TRUTH[lowered]
    try:
        return kind(text)
    except ValueError as error:
        raise SettingError(f"Setting {name} is {text!r}; it must be {_NAMES[kind]}") from error


_TRUTH = {"true": True, "yes": True, "1": True, "on": True} | {
    "false": False,
    "no": False,
    "0": False,
    "off": False,
}
_NAMES = {int: "a whole number", float: "a number", str: "text"}
