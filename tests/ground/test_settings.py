"""Settings from the command line: read by the field's type, refused in a sentence."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest

from meid_bench.errors import SettingError
from meid_bench.methods.method import MethodConfig
from meid_bench.settings import changed, parse_assignments, restored, to_json


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


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("number", "-3", -3),
        ("rate", "1e-4", 1e-4),
        ("name", "b=c", "b=c"),
        ("kind", "y", "y"),
        ("flag", "True", True),
        ("flag", "off", False),
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
def test_values_are_read_by_the_fields_type(name: str, text: str, value: Any) -> None:
    found = getattr(changed(Config(), parse_assignments([f"{name}={text}"])), name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("number=1.5", "Setting number is '1.5'; it must be a whole number"),
        ("rate=fast", "Setting rate is 'fast'; it must be a number"),
        ("flag=maybe", "Setting flag is 'maybe'; it must be true or false"),
        ("kind=z", "There is no value for setting kind: 'z'"),
        ("several=1,x", "Setting several is 'x'; it must be a whole number"),
        ("rates=0.9,x", "Setting rates is 'x'; it must be a number"),
        ("pair=1", "Setting pair is '1'; it must be 2 values"),
        ("weights=0.5", "Setting weights is '0.5'; it must be JSON, such as"),
        ('weights={"a": "b"}', "Setting weights.a is 'b'; it must be a number"),
        ("level=3", "There is no value for setting level: '3'"),
        ("nmber=1", "There is no setting 'nmber'; did you mean 'number'?"),
    ],
)
def test_what_cannot_be_read_is_refused(assignment: str, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence.replace("?", r"\?")):
        changed(Config(), parse_assignments([assignment]))


def test_every_setting_survives_json() -> None:
    config = Config(
        rates=[0.5, 1.0],
        names=("a",),
        weights={"a": 1.0},
        groups={"b": (1, 2)},
        anything={"c": [1]},
    )
    read = json.loads(json.dumps(to_json(asdict(config)), allow_nan=False))
    assert restored(Config(), read) == config


@pytest.mark.parametrize(
    "value",
    [math.inf, -math.inf, math.nan, (1.0, math.nan), {"a": [math.inf]}, {1: 2}, {1}, "\udcff", 1j],
)
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    sentence = r"Setting tau is .*, which no record can hold \(.*\); it must be text, true"
    with pytest.raises(SettingError, match=sentence):
        to_json({"good": 1, "tau": value})


def test_assignments() -> None:
    assert parse_assignments(["a=1", " b = 2 ", "a=3"]) == {"a": "3", "b": "2"}
    for bad in ("nothing", "=1"):
        with pytest.raises(SettingError, match="not of the form key=value"):
            parse_assignments([bad])


def test_values_that_are_no_strings_are_taken_as_they_are() -> None:
    assert changed(Config(), {"several": (9,), "flag": True}) == Config(several=(9,), flag=True)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"lr": 0.0}, "lr is 0.0; it must be between 0 and 1"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"milestones": (60, 30)}, "milestones is .60, 30.; it must be in ascending order"),
    ],
)
def test_every_methods_settings_have_ranges(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        changed(MethodConfig(), settings)
