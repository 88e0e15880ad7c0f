"""The codec: text of a command line and JSON of a file become the same typed values."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

import pytest

from meid_bench.codec import Text, decode, decode_value, encode


@dataclass(frozen=True)
class Inner:
    size: int = 1
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    number: int = 1
    rate: float = 0.1
    name: str = "a"
    kind: Literal["x", "y"] = "x"
    flag: bool = False
    several: tuple[int, ...] = (1, 2)
    maybe: int | None = None
    rates: list[float] = field(default_factory=list)
    sequence: Sequence[float] = (0.5,)
    names: Sequence[str] | None = None
    pair: tuple[int, str] = (1, "a")
    weights: dict[str, float] = field(default_factory=dict)
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    bare: dict = field(default_factory=dict)  # type: ignore[type-arg]
    level: Literal[1, 2] = 1
    either: int | str = 0
    anything: Any = None
    inner: Inner = field(default_factory=Inner)
    optional: Inner | None = None
    many: tuple[Inner, ...] = ()
    word: str | None = "a"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("number", "-3", -3),
        ("rate", "1e-4", 1e-4),
        ("name", "b=c", "b=c"),
        ("kind", "y", "y"),
        ("flag", "True", True),
        ("flag", "false", False),
        ("rate", ".5", 0.5),
        ("rate", "1", 1.0),
        ("name", "7", "7"),
        ("name", "null", "null"),
        ("name", "True", "True"),
        ("word", "none", None),
        ("word", "some", "some"),
        ("inner", '{"size": 2, "names": ["a"]}', Inner(2, ("a",))),
        ("optional", "none", None),
        ("optional", '{"size": 2, "names": []}', Inner(2)),
        ("many", '[{"size": 3, "names": []}]', (Inner(3),)),
        ("several", "3,5", (3, 5)),
        ("several", "(3, 5)", (3, 5)),
        ("several", "", ()),
        ("maybe", "7", 7),
        ("maybe", "None", None),
        ("rates", "0.9", [0.9]),
        ("rates", "0.9,1", [0.9, 1.0]),
        ("rates", "[0.9, 1]", [0.9, 1.0]),
        ("sequence", "0.25", (0.25,)),
        ("names", "a,b c", ("a", "b c")),
        ("names", '["a,b", "[c"]', ("a,b", "[c")),
        ("names", "none", None),
        ("pair", "3,4", (3, "4")),
        ("weights", '{"a": 1, "b": 0.5}', {"a": 1.0, "b": 0.5}),
        ("groups", '{"a": [1, 2]}', {"a": (1, 2)}),
        ("bare", '{"a": [1]}', {"a": [1]}),
        ("level", "2", 2),
        ("either", "7", 7),
        ("either", "seven", "seven"),
        ("anything", "[1]", [1]),
        ("anything", "as it is", "as it is"),
    ],
)
def test_text_is_read_by_the_fields_type(name: str, text: str, value: Any) -> None:
    found = read(name, text)
    assert found == value and type(found) is type(value)


def read(name: str, text: str) -> Any:
    return decode_value(get_type_hints(Config)[name], Text(text), f"Setting {name}")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("number", "1.5", "Setting number is '1.5'; it must be a whole number"),
        ("rate", "fast", "Setting rate is 'fast'; it must be a finite number"),
        ("rate", "inf", "Setting rate is 'inf'; it must be a finite number"),
        ("flag", "maybe", "Setting flag is 'maybe'; it must be true or false"),
        ("kind", "z", "Setting kind must be one of x, y, not 'z'"),
        ("several", "1,x", "Setting several[1] is 'x'; it must be a whole number"),
        ("rates", "0.9,x", "Setting rates[1] is 'x'; it must be a finite number"),
        ("pair", "1", "Setting pair must be 2 values, not 1"),
        ("weights", "0.5", "Setting weights must be an object, not 0.5"),
        ("weights", '{"a": "b"}', "Setting weights.a must be float, not 'b'"),
        ("level", "3", "Setting level must be one of 1, 2, not 3"),
        ("maybe", "x", "Setting maybe is 'x'; it must be a whole number"),
        ("inner", "3", "Setting inner must be an object, not 3"),
        ("inner", '{"size": 2}', "missing key 'Setting inner.names'"),
        ("optional", '{"sise": 2}', "unknown key 'Setting optional.sise'"),
        ("anything", "[" * 100_000, ""),
        ("anything", "[NaN]", "Setting anything[0] must be finite, not nan"),
    ],
)
def test_what_cannot_be_read_is_refused(name: str, text: str, sentence: str) -> None:
    if not sentence:
        assert read(name, text) == text  # nested too deeply for JSON: it is text
        return
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read(name, text)


def test_everything_survives_json() -> None:
    config = Config(
        rates=[0.5, 1.0],
        names=("a",),
        weights={"a": 1.0},
        groups={"b": (1, 2)},
        anything={"c": [1]},
        inner=Inner(3),
        optional=Inner(2, ("b",)),
        many=(Inner(1),),
    )
    written = json.dumps(encode(config), allow_nan=False)
    assert decode(Config, json.loads(written)) == config


@pytest.mark.parametrize(
    "value",
    [
        math.inf,
        -math.inf,
        math.nan,
        (1.0, math.nan),
        {"a": [math.inf]},
        {1: 2},
        {1},
        "\udcff",
        1j,
        {"\udcff": 1},
    ],
)
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    sentence = r"tau.* (must be finite, not|is .*, which no file can hold \(.*\); it must be text,)"
    with pytest.raises(ValueError, match=sentence):
        encode({"good": 1, "tau": value})


def test_a_type_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x is declared as .*set.*, which no file can hold"):
        decode_value(set[int], [1], "x")


def test_a_files_own_names_may_decide_a_class() -> None:
    class Base:
        """What a field names."""

    @dataclass(frozen=True)
    class Special(Base):
        size: int

    @dataclass(frozen=True)
    class Holder:
        held: Base

    Holder.__annotations__["held"] = Base
    assert decode(Holder, {"held": {"size": 2}}, classes={Base: Special}) == Holder(Special(2))
