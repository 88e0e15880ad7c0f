"""Paper tables: which runs stand behind each table of the paper and its supplement, as data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from meid_bench.errors import SettingError

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Variant:
    """One row of a table: a method with some settings.

    Attributes:
        label: The row's name, the paper's where it has the row.
        settings: What differs from the method's defaults.
        preset: Of the method; None for the benchmark's own.
    """

    label: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    preset: str | None = None


@dataclass(frozen=True)
class Block:
    """Rows of a table that share benchmark, features and aggregator.

    Attributes:
        encoder: Of the features, as stores are named.
        variants: The rows that can be run.
        left_out: Label of a row that is not run to what is said of it.
    """

    dataset: str
    encoder: str
    aggregator: str
    variants: tuple[Variant, ...]
    left_out: Mapping[str, str] = field(default_factory=lambda: NOTHING)


METHODS = (
    Variant("plain BCE", "plain"),
    Variant("LDAM", "ldam"),
    Variant("EQL", "eql"),
    Variant("CBS", "cbs"),
    Variant("SRS", "srs"),
    Variant("CB Loss", "cbloss"),
    Variant("Mixup", "mixup"),
    Variant("FrameStack", "framestack"),
    Variant("MEID", "meid"),
)
ATTENTION = (
    Variant("-", "meid", {"second": "none", "attention": "none", "lambda1": 0.0}),
    Variant("FA", "meid", {"second": "none", "lambda1": 0.0}),
    Variant("FA+DL", "meid", {"second": "none"}),
)
SECOND_EXPERT = (
    Variant("E1 (no second expert)", "meid", {"second": "none"}),
    Variant("CFS", "meid", {"motion": False, "sampler2": "uniform"}),
    Variant("CFS+ME", "meid", {"sampler2": "uniform"}),
    Variant("CFS+ME+CBS", "meid"),
)
EXPERTS = (
    Variant("E1", "meid", {"second": "none"}),
    Variant("E1+E1", "meid", {"second": "e1", "sampler2": "uniform"}),
    Variant("E1+E2", "meid"),
)
BETAS = tuple(Variant(str(beta), "meid", {"beta": beta}) for beta in (0.3, 0.5, 0.7))
# The paper's network has the mean alone (eq. 10); its authors' code can have either.
MOTION = tuple(
    Variant(label, "meid-authors", {"static": static})
    for label, static in (("Summation", "sum"), ("Mean", "mean"))
)
FUSION = (Variant("Medium Fusion", "meid"),)

MEDC = {"MEDC": "published only: no public code"}
EARLY_AND_LATE = dict.fromkeys(
    ("Early Fusion", "Late Fusion"),
    "published only: meid has no setting for where motion is taken in",
)


def _ablation(variants: tuple[Variant, ...], left_out: Mapping[str, str] = NOTHING) -> Block:
    # The ablations name no aggregator. Their full model has the numbers that Table 2 prints for
    # ResNet-50 with the Nonlinear aggregator.
    return Block("videolt", "resnet50", "nonlinear", variants, left_out)


FRAMESTACK_AND_MEID = tuple(v for v in METHODS if v.label in ("FrameStack", "MEID"))
WHOLE = (
    Block("videolt", "resnet50", "nonlinear", METHODS, MEDC),
    Block("videolt", "resnet101", "nonlinear", METHODS, MEDC),
    Block("videolt", "resnet101", "netvlad", FRAMESTACK_AND_MEID),
)

# By the names that the published results give the tables: "s" is the supplement.
TABLES: Mapping[str, tuple[Block, ...]] = {
    "2": WHOLE,
    "3": (
        Block("charadeslt", "resnet101", "nextvlad", METHODS),
        Block("charadesegolt", "resnet101", "nextvlad", METHODS),
    ),
    "4": (_ablation(ATTENTION),),
    "5": (_ablation(SECOND_EXPERT),),
    "6": (_ablation(EXPERTS),),
    "7": (_ablation(BETAS),),
    "s1": (_ablation(MOTION),),
    "s2": (_ablation(FUSION, EARLY_AND_LATE),),
    "s4": WHOLE,
    "s5": (
        Block("videolt", "tsm_resnet50", "nonlinear", METHODS),
        Block("videolt", "tsm_resnet50", "netvlad", METHODS, MEDC),
    ),
}
# Benchmarks with a paper's own lists, to the data set's name in the published results.
DATASETS = {"videolt": "VideoLT", "charadeslt": "CharadesLT", "charadesegolt": "CharadesEgoLT"}
# Official lists to those of the same statistics with no subject on two sides.
DISJOINT = {name: f"{name}-sd" for name in ("charadeslt", "charadesegolt")}
STATISTICS = "1"  # the paper's Table 1: statistics of the benchmarks, no runs


def find_table(name: str) -> str:
    """The table that a user names.

    Args:
        name: "table3", "3", "supplement4" or "s4".

    Returns:
        "1" to "7" of the paper, "s1" to "s5" of its supplement.

    Raises:
        SettingError: There is no such table, or it holds nothing that can be computed here.

    Example:
        >>> find_table("Table 3"), find_table("supplement4"), find_table("s4")
        ('3', 's4', 's4')
    """
    found = re.fullmatch(r"(s|supplement)?[\s-]*(?:table)?[\s-]*(\d+)", name.strip().lower())
    table = "" if found is None else ("s" if found[1] else "") + found[2]
    if table not in (STATISTICS, *TABLES):
        known = (f"supplement{t[1:]}" if t[0] == "s" else f"table{t}" for t in TABLES)
        raise SettingError(f"There is no table {name!r}; known: table1, {', '.join(known)}")
    return table
