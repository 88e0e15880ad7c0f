"""Settings: frozen dataclasses, changed by `--set key=value` with the field's own type."""

import json
import math
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

    Lists are `1,2` or JSON, dictionaries are JSON.

    Raises:
        SettingError: It is no such value; what was expected is named.
    """
    origin, arguments = _origin(kind), typing.get_args(kind)
    if origin is Literal:
        choices = {str(choice): choice for choice in arguments}
        if text not in choices:
            raise unknown(f"value for setting {name}:", text, choices)
        return choices[text]
    if origin in (types.UnionType, typing.Union):
        return _parse_union(name, text, arguments)
    if origin in _SEQUENCES:
        items = _items(text)
        kinds = _item_kinds(arguments, len(items))
        if len(kinds) != len(items):
            raise SettingError(f"Setting {name} is {text!r}; it must be {len(kinds)} values")
        made = [_item(name, item, kind) for item, kind in zip(items, kinds, strict=True)]
        return made if origin is list else tuple(made)
    if origin in (dict, Mapping):
        data = _json(text)
        if not isinstance(data, dict):
            example = '{"a": 1}'
            raise SettingError(f"Setting {name} is {text!r}; it must be JSON, such as {example}")
        kind = arguments[1] if arguments else Any
        return {key: _item(f"{name}.{key}", item, kind) for key, item in data.items()}
    if kind is Any:
        data = _json(text)
        return text if data is None and text != "null" else data
    return _parse_one(name, text, kind)


def to_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them, and so as a record does: tuples are lists.

    Raises:
        SettingError: JSON cannot hold a value; found before hours of training, not after.
    """
    found = {}
    for name, value in settings.items():
        try:
            found[name] = _plain(value)
        except (TypeError, ValueError) as error:
            raise SettingError(
                f"Setting {name} is {value!r}, which no record can hold ({error}); it must be "
                "text, true, false, none, a finite number, or a list or dictionary of these"
            ) from error
    return found


def restored(config: T, settings: Mapping[str, Any]) -> T:
    """A copy of a config with settings as JSON has them: lists are tuples where a field says so.

    Raises:
        SettingError: As `changed`.
    """
    hints = typing.get_type_hints(type(config))
    values = {}
    for name, value in settings.items():
        typed = _typed(value, hints.get(name, Any))
        values[name] = list(typed) if isinstance(getattr(config, name, None), list) else typed
    return changed(config, values)


def _parse_one(name: str, text: str, kind: Any) -> Any:
    if kind is bool:
        lowered = text.lower()
        if lowered not in _TRUTH:
            raise SettingError(f"Setting {name} is {text!r}; it must be true or false")
        return _TRUTH[lowered]
    try:
        return kind(text)
    except (ValueError, TypeError) as error:
        expected = _NAMES.get(kind) or f"a {getattr(kind, '__name__', kind)}"
        raise SettingError(f"Setting {name} is {text!r}; it must be {expected}") from error


def _parse_union(name: str, text: str, arguments: Sequence[Any]) -> Any:
    """The first of a union's types that the text can be read as."""
    if text.lower() == "none" and types.NoneType in arguments:
        return None
    refused = None
    for kind in arguments:
        if kind is not types.NoneType:
            try:
                return parse(name, text, kind)
            except SettingError as error:
                refused = refused or error
    assert refused is not None
    raise refused


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _items(text: str) -> list[Any]:
    data = _json(text)
    if isinstance(data, list):
        return data
    return [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]


def _item_kinds(arguments: Sequence[Any], count: int) -> Sequence[Any]:
    """The types of `count` items of a `tuple[X, Y]`, or of a `tuple[X, ...]` or `list[X]`."""
    if not arguments:
        return [Any] * count
    one = len(arguments) == 1 or arguments[1:] == (Ellipsis,)
    return [arguments[0]] * count if one else arguments


def _item(name: str, item: Any, kind: Any) -> Any:
    """A part of a list or dictionary, as the text had it or as JSON gave it."""
    if isinstance(item, str) and kind is Any:
        return item
    return parse(name, item if isinstance(item, str) else json.dumps(item), kind)


def _typed(data: Any, kind: Any) -> Any:
    """What JSON made of a value of this type."""
    if isinstance(data, list):
        kinds = (each for each in (kind, *typing.get_args(kind)) if _origin(each) in _SEQUENCES)
        kind = next(kinds, tuple)
        item_kinds = _item_kinds(typing.get_args(kind), len(data))
        items = [_typed(item, each) for item, each in zip(data, item_kinds, strict=False)]
        return items if _origin(kind) is list else tuple(items)
    if isinstance(data, dict) and len(typing.get_args(kind)) == 2:
        return {key: _typed(item, typing.get_args(kind)[1]) for key, item in data.items()}
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        value.encode()  # half of a surrogate pair, as a command line may hold, cannot be written
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("it is not finite")
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        if any(not isinstance(key, str) for key in value):
            raise TypeError("its keys are not text")
        return {key: _plain(item) for key, item in value.items()}
    raise TypeError(f"it is of type {type(value).__name__}")


def _origin(kind: Any) -> Any:
    return typing.get_origin(kind) or kind


_SEQUENCES = (tuple, list, Sequence)
_TRUTH = {"true": True, "yes": True, "1": True, "on": True} | {
    "false": False,
    "no": False,
    "0": False,
    "off": False,
}
_NAMES = {int: "a whole number", float: "a number", str: "text"}
