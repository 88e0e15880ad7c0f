"""Settings from the command line: read by the field's type, refused in a sentence."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from meid_bench.config import changed, parse_assignments
from meid_bench.errors import SettingError
from meid_bench.method import MethodConfig


@dataclass(frozen=True)
class Config:
    number: int = 1
    rate: float = 0.1
    name: str = "a"
    kind: Literal["x", "y"] = "x"
    flag: bool = False
    several: tuple[int, ...] = (1, 2)
    maybe: int | None = None


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
        ("nmber=1", "There is no setting 'nmber'; did you mean 'number'?"),
    ],
)
def test_what_cannot_be_read_is_refused(assignment: str, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence.replace("?", r"\?")):
        changed(Config(), parse_assignments([assignment]))


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
