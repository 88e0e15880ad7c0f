"""Strict JSON for frozen dataclasses, as a file or a line each: what does not fit is refused."""

import json
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from meid_bench.errors import DataError, SettingError
from meid_bench.files import write_text

T = TypeVar("T")
TOO_DEEP = "is nested too deeply"

_UNIONS = (Union, types.UnionType)
_LISTS = (tuple, list, Sequence)
_MAPPINGS = (dict, Mapping)
_PLAIN = (str, int, bool)
_WORDS = {"true": True, "false": False, "none": None}  # as Python spells them, in any case
_EXPECTED = {int: "a whole number", float: "a finite number", bool: "true or false"}


class Text(str):
    """A value as a command line gives it: JSON, "1,2" for a list, or else the text itself."""

    __slots__ = ()


def encode(value: Any, where: str = "") -> Any:
    """What JSON has for a value: dataclasses are objects, tuples are lists.

    Args:
        value: Of the types that `decode` builds.
        where: The path to this value, for the message.

    Raises:
        ValueError: JSON cannot hold it; names the place.
    """
    reason = f"it is of type {type(value).__name__}"
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value) if field.init]
        return {name: encode(getattr(value, name), _join(where, name)) for name in names}
    if isinstance(value, str):
        try:
            value.encode()  # half of a surrogate pair, as a command line may hold, is no text
        except UnicodeEncodeError as error:
            reason = str(error)
        else:
            return str(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where or 'the value'} must be finite, not {value}")
        return value
    elif value is None or isinstance(value, bool | int):
        return value
    elif isinstance(value, list | tuple):
        return [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    elif isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            named = f"a key of {where or 'the value'}"
            return {encode(k, named): encode(item, _join(where, k)) for k, item in value.items()}
        reason = "its keys are not text"
    raise ValueError(
        f"{where or 'the value'} is {_shown(value)}, which no file can hold ({reason}); it must be "
        "text, true, false, none, a finite number, or a list or dictionary of these"
    )


def check_recordable(value: Any, where: str) -> None:
    """Refuse what no file can hold before any work is done on it; the arguments are `encode`'s.

    Raises:
        SettingError: JSON cannot hold it; names the place.
    """
    try:
        encode(value, where)
    except ValueError as error:
        raise SettingError(str(error)) from error


def decode(
    kind: type[T], data: Any, where: str = "", classes: Mapping[type, type] | None = None
) -> T:
    """Build a dataclass from parsed JSON.

    Args:
        kind: The dataclass; its fields may be of the types that `decode_value` knows.
        data: What `json.loads` gave.
        where: The path to this value, for the message.
        classes: Class that a field names -> the one that its value is of, where a file's own
            names decide that.

    Raises:
        ValueError: A key is unknown or missing, or a value has the wrong type; names the place.
    """
    try:
        made: T = _Decoder(classes or {}).object(kind, data, where)
    except RecursionError as error:
        raise ValueError(f"{where or 'the record'} {TOO_DEEP}") from error
    return made


def decode_value(kind: Any, data: Any, where: str) -> Any:
    """A value of a type from parsed JSON, or from a `Text`.

    Args:
        kind: str, int, float, bool, None, Literal, a union of these, `tuple[X, ...]`,
            `tuple[X, Y]`, `list[X]`, `Sequence[X]` (a tuple), `dict[str, X]`, `Mapping[str, X]`,
            a dataclass, or Any (any JSON value).
        data: The value.
        where: Its name, for the message.

    Raises:
        ValueError: It is no such value.
    """
    try:
        return _Decoder({}).value(kind, data, where)
    except RecursionError as error:
        raise ValueError(f"{where} {TOO_DEEP}") from error


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


@cache
def _origin(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """`tuple[int, ...]` -> tuple and (int, ...); int -> int and ()."""
    return get_origin(kind) or kind, get_args(kind)


@cache  # a benchmark's file has hundreds of thousands of objects
def _hints(kind: Any) -> dict[str, Any]:
    """Name to type of a dataclass's fields."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


class _Decoder:
    """The types that JSON's values are checked against."""

    def __init__(self, classes: Mapping[type, type]) -> None:
        self.classes = classes

    def object(self, kind: Any, data: Any, where: str) -> Any:
        if not isinstance(data, dict):
            raise ValueError(f"{where or 'the record'} must be an object, not {_shown(data)}")
        hints = _hints(kind)
        if data.keys() != hints.keys():
            unknown = [key for key in data if key not in hints]
            missing = [name for name in hints if name not in data]
            complaint, key = ("unknown", unknown[0]) if unknown else ("missing", missing[0])
            raise ValueError(f"{complaint} key {_join(where, key)!r}")
        values = {
            name: self.value(hint, data[name], _join(where, name)) for name, hint in hints.items()
        }
        return kind(**values)

    def value(self, kind: Any, data: Any, where: str) -> Any:  # noqa: PLR0911  # a type each
        if type(data) is kind and kind in _PLAIN:
            return data
        origin, arguments = _origin(kind)
        if origin in _UNIONS:
            return self._union(arguments, data, where)
        if isinstance(data, Text):
            return self._text(kind, data, where)
        if kind is Any:
            return encode(data, where)
        if origin in _LISTS:
            return self._list(origin, arguments, data, where)
        if origin in _MAPPINGS:
            if not isinstance(data, Mapping) or any(not isinstance(key, str) for key in data):
                raise ValueError(f"{where} must be an object, not {_shown(data)}")
            inner = arguments[1] if arguments else Any
            return {key: self.value(inner, item, _join(where, key)) for key, item in data.items()}
        kind = self.classes.get(kind, kind)
        if isinstance(kind, type) and is_dataclass(kind):
            return self.object(kind, data, where)
        return _scalar(kind, data, where)

    def _union(self, kinds: Sequence[Any], data: Any, where: str) -> Any:
        """The first of the types that takes the value; None before all others."""
        none = data is None or (isinstance(data, Text) and _parsed(data) is None)
        if none and types.NoneType in kinds:
            return None
        refusals = []
        for kind in kinds:
            if kind is not types.NoneType:
                try:
                    return self.value(kind, data, where)
                except ValueError as error:
                    refusals.append(error)
        raise refusals[0]

    def _list(self, origin: Any, kinds: Sequence[Any], data: Any, where: str) -> Any:
        if not isinstance(data, list | tuple):
            raise ValueError(f"{where} must be a list, not {_shown(data)}")
        if origin is not tuple or len(kinds) < 2 or kinds[1] is Ellipsis:
            kinds = [kinds[0] if kinds else Any] * len(data)
        if len(kinds) != len(data):
            raise ValueError(f"{where} must be {len(kinds)} values, not {len(data)}")
        pairs = enumerate(zip(kinds, data, strict=True))
        items = [self.value(kind, item, f"{where}[{i}]") for i, (kind, item) in pairs]
        return items if origin is list else tuple(items)

    def _text(self, kind: Any, text: str, where: str) -> Any:
        """A value of a type from what a command line gives."""
        origin, data = get_origin(kind) or kind, _parsed(text)
        if kind is str:
            data = str(text)
        elif origin is Literal:
            data = next((choice for choice in get_args(kind) if str(choice) == text), data)
        elif origin in _LISTS and not isinstance(data, list):
            parts = (part.strip() for part in text.strip("()[] ").split(","))
            data = [Text(part) for part in parts if part]
        try:
            return self.value(kind, data, where)
        except ValueError as error:
            if kind not in _EXPECTED:
                raise
            refused = f"{where} is {str(text)!r}; it must be {_EXPECTED[kind]}"
            raise ValueError(refused) from error


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if get_origin(kind) is Literal:
        if not any(data == choice and type(data) is type(choice) for choice in get_args(kind)):
            known = ", ".join(map(str, get_args(kind)))
            raise ValueError(f"{where} must be one of {known}, not {_shown(data)}")
        return data
    if kind not in (str, int, float, bool, types.NoneType):
        raise ValueError(f"{where} is declared as {kind}, which no file can hold")
    # A bool is an int to Python and no number to us; a whole number is a good float.
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(data, accepted) or (isinstance(data, bool) and kind is not bool):
        raise ValueError(f"{where} must be {kind.__name__}, not {_shown(data)}")
    if kind is float:
        if not math.isfinite(data):
            raise ValueError(f"{where} must be finite, not {data}")
        return float(data)
    return data


def _parsed(text: str) -> Any:
    """JSON, a word of Python's, a number as Python writes it (".5"), or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for parse in (json.loads, float):
        try:
            return parse(text)
        except (ValueError, RecursionError):
            continue
    return str(text)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 40 else f"{text[:37]}..."


def write_json(path: Path, value: Any) -> None:
    """Write what `encode` makes of a value as a UTF-8 file, whole or not at all.

    Raises:
        ValueError: As `encode`.
    """
    write_text(path, json.dumps(encode(value), ensure_ascii=False, indent=1) + "\n")


def json_line(item: Any) -> str:
    """A dataclass as one line, with its line feed.

    All but ASCII is escaped: many programs take U+2028 or U+0085 for a line's end.

    Raises:
        ValueError: As `encode`.
    """
    return json.dumps(encode(item)) + "\n"


def read_json_lines(path: Path, kind: type[T], mend: str) -> list[T]:
    """Read a file of dataclasses; there are none where it is missing.

    Args:
        path: The file.
        kind: The dataclass; see `schema.decode` for the types of its fields.
        mend: What to do about a damaged file, for the message: "run it again".

    Raises:
        DataError: A line is no such object.
    """
    if not path.is_file():
        return []
    items = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines if lines[-1] else lines[:-1], start=1):
        try:
            items.append(decode(kind, json.loads(line.decode("utf-8"))))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number} is damaged ({error}); {mend}") from error
    return items
