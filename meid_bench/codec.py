"""Strict JSON for frozen dataclasses: what does not fit the types is refused in one sentence."""

import json
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
TOO_DEEP = "is nested too deeply"


def decode(kind: type[T], data: Any, where: str = "") -> T:
    """Build a frozen dataclass from parsed JSON.

    Args:
        kind: The dataclass; its fields may be str, int, float, bool, None, Literal, `X | None`,
            `tuple[X, ...]`, `Mapping[str, X]`, another dataclass, or Any (any JSON value).
        data: What `json.loads` gave.
        where: The path to this value, for the message.

    Raises:
        ValueError: A key is unknown or missing, or a value has the wrong type; names the place.
    """
    try:
        return _object(kind, data, where)
    except RecursionError as error:
        raise ValueError(f"{where or 'the record'} {TOO_DEEP}") from error


def read_json(path: Path) -> Any:
    """Parse a UTF-8 file of JSON.

    Raises:
        ValueError: It holds something else.
        OSError: It cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"it {TOO_DEEP}") from error


def _object(kind: type[T], data: Any, where: str) -> T:
    if not isinstance(data, dict):
        raise ValueError(f"{where or 'the record'} must be an object, not {_shown(data)}")
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for complaint, keys in (
        ("unknown", [key for key in data if key not in names]),
        ("missing", [name for name in names if name not in data]),
    ):
        if keys:
            raise ValueError(f"{complaint} key {_join(where, keys[0])!r}")
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], data[name], _join(where, name)) for name in names})


def _value(kind: Any, data: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):  # only ever `X | None`
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return None if data is None else _value(inner, data, where)
    if origin in (tuple, Mapping):
        return _container(origin, arguments, data, where)
    if origin is Literal:
        if data not in arguments or isinstance(data, bool):
            known = ", ".join(map(str, arguments))
            raise ValueError(f"{where} must be one of {known}, not {_shown(data)}")
        return data
    if kind is Any:
        return _json(data, where)
    if isinstance(kind, type) and is_dataclass(kind):
        return _object(kind, data, where)
    return _scalar(kind, data, where)


def _container(origin: Any, arguments: tuple[Any, ...], data: Any, where: str) -> Any:
    if origin is tuple and isinstance(data, list):
        return tuple(_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if origin is Mapping and isinstance(data, dict):
        return {key: _value(arguments[1], item, _join(where, key)) for key, item in data.items()}
    expected = "a list" if origin is tuple else "an object"
    raise ValueError(f"{where} must be {expected}, not {_shown(data)}")


def _scalar(kind: Any, data: Any, where: str) -> Any:
    # A bool is an int to Python and no number to us; a whole number is a good float.
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(data, accepted) or (isinstance(data, bool) and kind is not bool):
        raise ValueError(f"{where} must be {kind.__name__}, not {_shown(data)}")
    if kind is float:
        if not math.isfinite(data):
            raise ValueError(f"{where} must be finite, not {data}")
        return float(data)
    return data


def _json(data: Any, where: str) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        raise ValueError(f"{where} must be finite, not {data}")
    if isinstance(data, dict):
        return {key: _json(value, _join(where, key)) for key, value in data.items()}
    if isinstance(data, list):
        return [_json(value, f"{where}[{i}]") for i, value in enumerate(data)]
    return data


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 40 else f"{text[:37]}..."
