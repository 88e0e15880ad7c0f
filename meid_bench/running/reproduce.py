"""Reproduce: the runs that stand behind a table of the paper, and the rows that they give."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from meid_bench.aggregators import find_aggregator
from meid_bench.benchmark import Benchmark, load_benchmark
from meid_bench.board.published import PublishedRow, published_rows, table_title
from meid_bench.errors import MeidBenchError, SettingError
from meid_bench.features import FeatureStore, find_store
from meid_bench.leaderboard import Row, make_row
from meid_bench.running.batchrun import Outcome
from meid_bench.running.papertable import DISJOINT, TABLES, Block, Variant
from meid_bench.running.protocol import Protocol
from meid_bench.running.request import Request
from meid_bench.stores.npy_store import encoder_of, open_store


@dataclass(frozen=True)
class Wish:
    """What the user asks of `reproduce`.

    Attributes:
        table: "2" to "7", "s1" to "s5": as `papertable.find_table` gives it.
        seeds: A run for each.
        datasets: In place of the table's own benchmarks; empty for those.
        aggregators: In place of the table's own; empty for those.
        features: Name of a feature store, or its beginning; None for the table's encoder.
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
    protocol: Protocol = "paper"
    quick: bool = False
    all_splits: bool = False
    allow_missing: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)


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


def wanted_blocks(wish: Wish) -> list[Block]:
    """The blocks of the wish: the table's, on other benchmarks or with other aggregators.

    Raises:
        SettingError: There is no such aggregator, or no subject-disjoint lists beside these.
    """
    for name in wish.aggregators:
        find_aggregator(name)
    blocks = list(TABLES[wish.table])
    if wish.datasets:
        blocks = [block for name in wish.datasets for block in _on(name, blocks)]
    if wish.aggregators:
        each = _first_of_each(blocks, lambda block: (block.dataset, block.encoder))
        blocks = [replace(block, aggregator=name) for block in each for name in wish.aggregators]
    if wish.all_splits:
        blocks = [one for block in blocks for one in (block, *_disjoint(block))]
        if not any(block.dataset in DISJOINT.values() for block in blocks):
            raise SettingError(
                f"--splits all adds the subject-disjoint lists of {' or '.join(DISJOINT)}; "
                f"{table_title(wish.table)} is of {blocks[0].dataset}: name one with --dataset"
            )
    return blocks


def _on(dataset: str, blocks: Sequence[Block]) -> list[Block]:
    """A table's blocks of a benchmark; of one that it has not, its rows with each aggregator."""
    own = [block for block in blocks if block.dataset == dataset]
    each = _first_of_each(blocks, lambda block: block.aggregator)
    return own or [replace(block, dataset=dataset, encoder=blocks[0].encoder) for block in each]


def _disjoint(block: Block) -> list[Block]:
    twin = DISJOINT.get(block.dataset)
    return [] if twin is None else [replace(block, dataset=twin)]


def _first_of_each(blocks: Sequence[Block], key: Callable[[Block], Hashable]) -> list[Block]:
    found: dict[Hashable, Block] = {}
    for block in blocks:
        found.setdefault(key(block), block)
    return list(found.values())


def available(wish: Wish, root: Path) -> tuple[list[Part], list[str]]:
    """The parts of the table that can be run, and a sentence for each that cannot."""
    parts, missing = [], []
    blocks = wanted_blocks(wish)
    for block in blocks:
        encoders = {other.encoder for other in blocks if other.dataset == block.dataset}
        try:
            benchmark = load_benchmark(block.dataset, root)
            store = open_store(_find(root, benchmark, wish.features, block.encoder, encoders))
        except MeidBenchError as error:
            missing.append(f"{block.dataset} with {block.encoder} features: {error}")
            continue
        parts.append(Part(block, benchmark, store, _published(wish.table, block, benchmark)))
    return parts, list(dict.fromkeys(missing))


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
        run_all: Runs requests, as `meid_bench.running.schedule.run_on_devices` does.
    """
    requests = {
        (number, variant.label, seed): _request(wish, part, variant, seed)
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


def _request(wish: Wish, part: Part, variant: Variant, seed: int) -> Request:
    return Request(
        method=variant.method,
        dataset=part.block.dataset,
        aggregator=part.block.aggregator,
        seed=seed,
        features=part.store.folder.name,
        settings={**wish.settings, **variant.settings},
        allow_missing=wish.allow_missing,
        protocol=wish.protocol,
        quick=wish.quick,
        label=f"{part.block.dataset}, {part.block.aggregator}: {variant.label}",
    )


def comparable(part: Part, label: str, row: Row) -> PublishedRow | None:
    """The published row that a row may be subtracted from, if there is one.

    A benchmark that declares published numbers has their very lists. None for shortened
    schedules, and for features that are not of the paper's encoder.
    """
    encoder = part.store.manifest["recipe"]["encoder"]
    if row.first.quick or part.store.untrained or encoder != part.block.encoder:
        return None
    return next((p for p in part.published if p.method == label), None)
