"""Reproduce: the runs that stand behind a table of the paper, and the rows that they give."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meid_bench.benchmark.benchmark import Benchmark, load_benchmark
from meid_bench.errors import MeidBenchError, SettingError
from meid_bench.features.npy_store import encoder_of, open_store
from meid_bench.features.store import FeatureStore, find_store
from meid_bench.results.board import Row, make_row
from meid_bench.results.counterpart import unchanged
from meid_bench.results.published import PublishedRow, published_rows
from meid_bench.training.many import Outcome
from meid_bench.training.paper_table import Block, Variant
from meid_bench.training.request import Request
from meid_bench.training.wish import Wish, wanted_blocks


@dataclass(frozen=True)
class Part:
    """A block of the table on features that are there.

    Attributes:
        block: What the paper printed, or what the user put in its place.
        benchmark: The benchmark.
        store: The features.
        published: The paper's rows of the same table, lists, encoder and aggregator.
    """

    block: Block
    benchmark: Benchmark
    store: FeatureStore
    published: tuple[PublishedRow, ...]


@dataclass(frozen=True)
class Reproduced:
    """What came of a part of a table.

    Attributes:
        part: The part.
        rows: Row label to its runs over seeds, in the table's order; failed ones are left out.
    """

    part: Part
    rows: Mapping[str, Row]


def available(wish: Wish, root: Path) -> tuple[list[Part], list[str]]:
    """The parts of the table that can be run, and a sentence for each that cannot."""
    parts, missing = [], []
    blocks = wanted_blocks(wish)
    for block in blocks:
        try:
            parts.append(find_part(wish, block, blocks, root))
        except MeidBenchError as error:
            missing.append(f"{block.dataset} with {block.encoder} features: {error}")
    return parts, list(dict.fromkeys(missing))


def find_part(wish: Wish, block: Block, blocks: Sequence[Block], root: Path) -> Part:
    """The benchmark and the features of one of the wish's blocks.

    Raises:
        MeidBenchError: They are not there; the sentence names the command that makes them.
    """
    encoders = {other.encoder for other in blocks if other.dataset == block.dataset}
    benchmark = load_benchmark(block.dataset, root)
    store = open_store(_find(root, benchmark, wish.features, block.encoder, encoders))
    return Part(block, benchmark, store, _published(wish.table, block, benchmark))


def _find(
    root: Path, benchmark: Benchmark, features: str | None, encoder: str, encoders: set[str]
) -> Path:
    if features is not None:
        return find_store(root, benchmark, features)
    try:
        return find_store(root, benchmark, f"{encoder}-")
    except SettingError:
        if len(encoders) > 1:  # the table tells its encoders apart
            raise
        return find_store(root, benchmark)  # of another one; the table's heading names it


def _published(table: str, block: Block, benchmark: Benchmark) -> tuple[PublishedRow, ...]:
    return tuple(
        row
        for row in published_rows(table)
        if row.dataset == benchmark.published
        and encoder_of(row.encoder) == block.encoder
        and (row.aggregator or "nonlinear").lower() == block.aggregator
    )


def reproduce(
    wish: Wish,
    parts: Sequence[Part],
    run_all: Callable[[Sequence[Request]], list[Outcome]],
) -> tuple[list[Reproduced], list[Outcome]]:
    """Run everything that the parts need and that has no record yet.

    Args:
        wish: What was asked.
        parts: As `available` gives them.
        run_all: Runs requests, as `meid_bench.training.schedule.run_on_devices` does.
    """
    requests = {
        (number, variant.label, seed): request_of(wish, part, variant, seed)
        for seed in wish.seeds  # a first whole table soon, its error bars later
        for number, part in enumerate(parts)
        for variant in part.block.variants
    }
    outcomes = run_all(list(requests.values()))
    found = dict(zip(requests, outcomes, strict=True))
    reproduced = []
    for number, part in enumerate(parts):
        rows = {}
        for variant in part.block.variants:
            ended = [found[number, variant.label, seed] for seed in wish.seeds]
            runs = {o.folder: o.result for o in ended if o.folder and o.result}
            if runs:
                rows[variant.label] = make_row(runs)
        reproduced.append(Reproduced(part, rows))
    return reproduced, outcomes


def request_of(wish: Wish, part: Part, variant: Variant, seed: int) -> Request:
    """The run behind a row, with one seed."""
    return Request(
        method=variant.method,
        dataset=part.block.dataset,
        aggregator=part.block.aggregator,
        seed=seed,
        features=part.store.folder.name,
        preset=variant.preset,
        settings={**wish.settings, **variant.settings},
        allow_missing=wish.allow_missing,
        protocol=wish.protocol,
        quick=wish.quick,
        label=f"{part.block.dataset}, {part.block.aggregator}: {variant.label}",
    )


def comparable(part: Part, label: str, row: Row) -> PublishedRow | None:
    """The published row that a row may be subtracted from, if there is one.

    A benchmark that declares published numbers has their very lists. None for runs that are not as
    published (`counterpart.unchanged`), and for features that are not of the paper's encoder.
    """
    encoder = part.store.manifest.recipe.encoder
    (variant,) = (variant for variant in part.block.variants if variant.label == label)
    if encoder != part.block.encoder or not unchanged(row.first, variant.settings):
        return None
    return next((p for p in part.published if p.method == label), None)
