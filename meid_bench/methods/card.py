"""Method card: summary, source, settings and presets of a method, from its class."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from meid_bench.errors import MethodError
from meid_bench.methods.method import Family, MethodConfig
from meid_bench.methods.registry import find_method


@dataclass(frozen=True)
class MethodCard:
    """What `meid-bench methods` shows of a method.

    Attributes:
        name: Registered name, or module:Class.
        family: What it changes; "other" where it says nothing that is known.
        venue: Where it was published, with the year; empty where it does not say.
        summary: First line of its docstring.
        reference: Where it is from; empty where its docstring does not say.
        differs: What is deliberately different there; empty where nothing is said.
        settings: Its own settings, and shared ones where its default is another, with defaults.
        presets: Preset name to the settings that it changes.
        place: The module and class.
    """

    name: str
    family: Family
    venue: str
    summary: str
    reference: str
    differs: str
    settings: Mapping[str, Any]
    presets: Mapping[str, Mapping[str, Any]]
    place: str


def method_card(name: str) -> MethodCard:
    """Describe a method.

    Args:
        name: Registered name, or module:Class.

    Raises:
        SettingError: There is no such method.
        MethodError: It cannot be imported, or its Config does not build.
    """
    kind = find_method(name)
    try:
        settings = asdict(kind.Config())
    except TypeError as error:
        raise MethodError(f"{name}: its Config cannot be built without arguments: {error}") from (
            error
        )
    shared = asdict(MethodConfig())
    text = inspect.cleandoc(kind.__doc__ or "")  # not inherited: that describes another method
    return MethodCard(
        name=name,
        family=kind.family if kind.family in get_args(Family) else "other",
        venue=vars(kind).get("venue", ""),  # what is inherited is of another method
        summary=text.partition("\n")[0],
        reference=_section(text, "Reference"),
        differs=_section(text, "Differs"),
        settings={k: v for k, v in settings.items() if k not in shared or shared[k] != v},
        presets=kind.presets,
        place=f"{kind.__module__}:{kind.__qualname__}",
    )


def _section(text: str, heading: str) -> str:
    """A section of a Google-style docstring, on one line."""
    found = re.search(rf"^{heading}:[ \n](.*?)(?=^\w|\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""
