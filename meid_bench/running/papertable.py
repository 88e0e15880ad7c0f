"""Paper tables: which runs stand behind each table of the MEID paper, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from meid_bench.errors import unknown

PUBLISHED_ONLY = "published only"


@dataclass(frozen=True)
class Variant:
    """One row of a table: a method with some settings.

    Attributes:
        label: The row's name, the paper's where it has the row.
        method: Registered name.
        settings: What differs from the method's defaults.
    """

    label: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Block:
    """Rows of a table that share benchmark, features and aggregator.

    Attributes:
        dataset: Name of the benchmark.
        encoder: Of the features, as stores are named.
        aggregator: As `--aggregator` takes it.
        variants: The rows.
    """

    dataset: str
    encoder: str
    aggregator: str
    variants: tuple[Variant, ...]


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
    Variant("E1+E1", "meid", {"second": "e1"}),
    Variant("E1+E2", "meid"),
)
BETAS = tuple(Variant(str(beta), "meid", {"beta": beta}) for beta in (0.3, 0.5, 0.7))


def _ablation(variants: tuple[Variant, ...]) -> tuple[Block, ...]:
    # Tables 4 to 7 name no aggregator. Their full model has the numbers that Table 2 prints for
    # ResNet-50 with the Nonlinear aggregator.
    return (Block("videolt", "resnet50", "nonlinear", variants),)


TABLES: Mapping[str, tuple[Block, ...]] = {
    "table2": (
        Block("videolt", "resnet50", "nonlinear", METHODS),
        Block("videolt", "resnet101", "nonlinear", METHODS),
        Block(
            "videolt",
            "resnet101",
            "netvlad",
            tuple(variant for variant in METHODS if variant.label in ("FrameStack", "MEID")),
        ),
    ),
    "table3": (
        Block("charadeslt", "resnet101", "nextvlad", METHODS),
        Block("charadesegolt", "resnet101", "nextvlad", METHODS),
    ),
    "table4": _ablation(ATTENTION),
    "table5": _ablation(SECOND_EXPERT),
    "table6": _ablation(EXPERTS),
    "table7": _ablation(BETAS),
}


def table_blocks(table: str) -> tuple[Block, ...]:
    """The runs of "table2" to "table7".

    Raises:
        SettingError: There is no such table, or no run stands behind it.
    """
    if table not in TABLES:
        raise unknown("table", table, TABLES)
    return TABLES[table]
