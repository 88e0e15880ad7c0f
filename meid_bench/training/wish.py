"""Wish: what the user asks of `reproduce`, and the blocks of runs that it comes to."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from meid_bench.errors import SettingError, unknown
from meid_bench.methods.aggregators import find_aggregator
from meid_bench.methods.presets import DEFAULT, has_preset, preset_in_force
from meid_bench.methods.registry import find_method
from meid_bench.results.published import table_title
from meid_bench.training.paper_table import DISJOINT, NOTHING, PUBLISHED, TABLES, Block
from meid_bench.training.protocol import Protocol
from meid_bench.training.request import resolve


@dataclass(frozen=True)
class Wish:
    """What the user asks of `reproduce`.

    Attributes:
        table: "2" to "7", "s1" to "s5": as `papertable.find_table` gives it.
        seeds: A run for each.
        datasets: In place of the table's own benchmarks; empty for those.
        aggregators: In place of the table's own; empty for those.
        features: Name of a feature store, or its beginning; None for the table's encoder.
        preset: For every row whose method has it; None for the benchmark's own.
        protocol: "paper" or "equal".
        quick: Shorten every schedule.
        all_splits: Run the subject-disjoint lists beside the official ones too.
        allow_missing: How many listed videos may be without features.
        settings: `--set` pairs for every run; a row's own settings stand above them.
    """

    table: str
    seeds: tuple[int, ...] = (0, 1, 2)
    datasets: tuple[str, ...] = ()
    aggregators: tuple[str, ...] = ()
    features: str | None = None
    preset: str | None = None
    protocol: Protocol = "paper"
    quick: bool = False
    all_splits: bool = False
    allow_missing: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)


def wanted_blocks(wish: Wish) -> list[Block]:
    """The blocks of the wish: the table's, on other benchmarks or with other aggregators.

    Raises:
        SettingError: There is no such aggregator, no row's method has the preset, or there are no
            subject-disjoint lists beside these.
    """
    for name in wish.aggregators:
        find_aggregator(name)
    blocks = list(TABLES[wish.table])
    if wish.preset is not None:
        _check_preset(wish.preset, [v.method for block in blocks for v in block.variants])
    if wish.datasets:
        blocks = [block for name in wish.datasets for block in _on(name, blocks)]
    if wish.aggregators:
        each = _first_of_each(blocks, lambda block: (block.dataset, block.encoder))
        blocks = [_aggregated(block, name) for block in each for name in wish.aggregators]
    if wish.all_splits:
        blocks = [one for block in blocks for one in (block, *_disjoint(block))]
        if not any(block.dataset in DISJOINT.values() for block in blocks):
            raise SettingError(
                f"--splits all adds the subject-disjoint lists of {' or '.join(DISJOINT)}; "
                f"{table_title(wish.table)} is of {blocks[0].dataset}: name one with --dataset"
            )
    return blocks if wish.preset is None else [_under(wish.preset, block) for block in blocks]


def _on(dataset: str, blocks: Sequence[Block]) -> list[Block]:
    """A table's blocks of a benchmark; of one that it has not, its rows with each aggregator."""
    own = [block for block in blocks if block.dataset == dataset]
    each = _first_of_each(blocks, lambda block: block.aggregator)
    encoder = blocks[0].encoder
    return own or [
        replace(block, dataset=dataset, encoder=encoder, left_out=NOTHING) for block in each
    ]


def _aggregated(block: Block, aggregator: str) -> Block:
    """A block with an aggregator; what the paper alone has of it stays with the paper's own."""
    if aggregator == block.aggregator:
        return block
    return replace(block, aggregator=aggregator, left_out=NOTHING)


def _disjoint(block: Block) -> list[Block]:
    twin = DISJOINT.get(block.dataset)
    return [] if twin is None else [replace(block, dataset=twin)]


def _first_of_each(blocks: Sequence[Block], key: Callable[[Block], Hashable]) -> list[Block]:
    found: dict[Hashable, Block] = {}
    for block in blocks:
        found.setdefault(key(block), block)
    return list(found.values())


def _under(preset: str, block: Block) -> Block:
    """A block with the preset on the rows that have it, where it has the row's settings."""
    variants, left_out = [], dict(block.left_out)
    for variant in block.variants:
        if not has_preset(variant.method, preset):
            variants.append(variant)
            continue
        method, chosen = preset_in_force(variant.method, preset, PUBLISHED.get(block.dataset))
        try:
            resolve(find_method(method), block.aggregator, chosen, variant.settings)
        except SettingError as error:
            left_out[variant.label] = f"not run with preset {preset}: {error}"
        else:
            variants.append(replace(variant, preset=preset))
    return replace(block, variants=tuple(variants), left_out=left_out)


def _check_preset(preset: str, methods: Sequence[str]) -> None:
    if not any(has_preset(method, preset) for method in methods):
        known = {name for method in methods for name in find_method(method).presets}
        raise unknown("preset of this table's methods", preset, {DEFAULT, *known})
