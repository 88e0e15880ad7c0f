"""Reproduce: what is asked of a table of the paper, the runs behind it, and their rows."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from meid_bench.benchmark.benchmark import Benchmark, load_benchmark
from meid_bench.errors import MeidBenchError, SettingError, unknown
from meid_bench.features.joined_store import Store, open_features
from meid_bench.methods.aggregators import find_aggregator
from meid_bench.methods.presets import DEFAULT_PRESET, has_preset, preset_in_force
from meid_bench.methods.registry import find_method
from meid_bench.methods.settings import Settings
from meid_bench.results.published import PublishedRow, plain_name, published_rows, table_title
from meid_bench.results.rows import Row, make_row
from meid_bench.training.many import Outcome
from meid_bench.training.paper_table import DATASETS, DISJOINT, NOTHING, TABLES, Block, Variant
from meid_bench.training.protocol import Protocol, resolve
from meid_bench.training.request import Request


@dataclass(frozen=True)
class TableRequest:
    """What the user asks of `reproduce`; what is not named here is as in `Request`, for every run.

    Attributes:
        table: "2" to "7", "s1" to "s5": as `paper_table.find_table` gives it.
        datasets, aggregators: In place of the table's own; empty for those.
        features: As in `Request`; None for the table's encoder.
        preset: For every row whose method has it; None for the benchmark's own.
        all_splits: Run the subject-disjoint lists beside the official ones too.
        settings: `--set` pairs for every run; a row's own settings override them.
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


def wanted_blocks(asked: TableRequest) -> list[Block]:
    """The blocks that are asked for: the table's, on other benchmarks or with other aggregators.

    Raises:
        SettingError: There is no such aggregator, no row's method has the preset, a row cannot
            have the settings, or there are no subject-disjoint lists beside these.
    """
    for name in asked.aggregators:
        find_aggregator(name)
    blocks = list(TABLES[asked.table])
    if asked.preset is not None:
        methods = {variant.method for block in blocks for variant in block.variants}
        known = {DEFAULT_PRESET}.union(*(find_method(method).presets for method in methods))
        if asked.preset not in known:
            raise unknown("preset of this table's methods", asked.preset, known)
    if asked.datasets:
        blocks = [block for name in asked.datasets for block in _on(name, blocks)]
    if asked.aggregators:
        # What the paper alone has (`left_out`) stays with the paper's own aggregator.
        blocks = [
            block if name == block.aggregator else replace(block, aggregator=name, left_out=NOTHING)
            for block in _first_of_each(blocks, lambda block: (block.dataset, block.encoder))
            for name in asked.aggregators
        ]
    if asked.all_splits:
        blocks = [
            replace(block, dataset=name)
            for block in blocks
            for name in (block.dataset, DISJOINT.get(block.dataset))
            if name is not None
        ]
        if not any(block.dataset in DISJOINT.values() for block in blocks):
            raise SettingError(
                f"--splits all adds the subject-disjoint lists of {' or '.join(DISJOINT)}; "
                f"{table_title(asked.table)} is of {blocks[0].dataset}: name one with --dataset"
            )
    if asked.preset is not None:
        blocks = [_under(asked.preset, block) for block in blocks]
    if asked.settings:
        _check_settings(asked, blocks)
    return blocks


def _on(dataset: str, blocks: Sequence[Block]) -> list[Block]:
    """A table's blocks of a benchmark; of one that it has not, its rows with each aggregator."""
    own = [block for block in blocks if block.dataset == dataset]
    each = _first_of_each(blocks, lambda block: block.aggregator)
    encoder = blocks[0].encoder
    return own or [
        replace(block, dataset=dataset, encoder=encoder, left_out=NOTHING) for block in each
    ]


def _first_of_each(blocks: Sequence[Block], key: Callable[[Block], Hashable]) -> list[Block]:
    first: dict[Hashable, Block] = {}
    for block in blocks:
        first.setdefault(key(block), block)
    return list(first.values())


def _under(preset: str, block: Block) -> Block:
    """A block with the preset on the rows that have it, where it has the row's settings."""
    variants, left_out = [], dict(block.left_out)
    for variant in block.variants:
        row = replace(variant, preset=preset) if has_preset(variant.method, preset) else variant
        try:
            row_settings(block, row, row.settings)
        except SettingError as error:
            left_out[variant.label] = f"not run with preset {preset}: {error}"
        else:
            variants.append(row)
    return replace(block, variants=tuple(variants), left_out=left_out)


def row_settings(
    block: Block,
    variant: Variant,
    values: Mapping[str, Any],
    protocol: Protocol = "paper",
    quick: bool = False,
) -> tuple[str, str | None, Settings]:
    """The method and the preset in force of a row, and its settings under some values.

    Raises:
        SettingError: The row cannot have these values.
    """
    published = DATASETS.get(block.dataset)
    method, preset = preset_in_force(variant.method, variant.preset, published)
    kind = find_method(method)
    return method, preset, resolve(kind, block.aggregator, preset, values, protocol, quick)


def _check_settings(asked: TableRequest, blocks: Sequence[Block]) -> None:
    """Refuse once, before anything runs, the `--set` values that a row would refuse."""
    refused: dict[str, str] = {}
    for block in blocks:
        for variant in block.variants:
            values = {**asked.settings, **variant.settings}
            try:
                row_settings(block, variant, values, asked.protocol, asked.quick)
            except SettingError as error:
                refused[variant.label] = str(error)
    if refused:
        raise SettingError(
            f"--set holds for every row of a table, and not for {', '.join(refused)}: "
            f"{next(iter(refused.values()))}"
        )


@dataclass(frozen=True)
class TablePart:
    """A block of the table on features that are there.

    Attributes:
        block: The paper's, or what the user put in its place.
        published: The paper's rows of the same table, lists, encoder and aggregator.
    """

    block: Block
    benchmark: Benchmark
    store: Store
    published: tuple[PublishedRow, ...]


@dataclass(frozen=True)
class Reproduced:
    """The results of a part of a table.

    Attributes:
        rows: Row label to its runs over seeds, in the table's order; failed ones are left out.
    """

    part: TablePart
    rows: Mapping[str, Row]


def available(asked: TableRequest, root: Path) -> tuple[list[TablePart], list[str]]:
    """The parts of the table that can be run, and a sentence for each that cannot."""
    parts, missing = [], []
    blocks = wanted_blocks(asked)
    for block in blocks:
        try:
            parts.append(find_part(asked, block, blocks, root))
        except MeidBenchError as error:
            missing.append(f"{block.dataset} with {block.encoder} features: {error}")
    return parts, list(dict.fromkeys(missing))


def find_part(asked: TableRequest, block: Block, blocks: Sequence[Block], root: Path) -> TablePart:
    """The benchmark and the features of one of the blocks asked for.

    Raises:
        MeidBenchError: They are not there; the sentence names the command that makes them.
    """
    benchmark = load_benchmark(block.dataset, root)
    if asked.features is not None:
        store = open_features(root, benchmark, asked.features)
    else:
        try:
            store = open_features(root, benchmark, f"{block.encoder}-")
        except SettingError:
            if len({each.encoder for each in blocks if each.dataset == block.dataset}) > 1:
                raise  # the table tells its encoders apart
            store = open_features(root, benchmark)  # of another one, which the heading names
    published = tuple(
        row
        for row in published_rows(asked.table)
        if row.dataset == benchmark.published
        and row.names[1] == plain_name(block.encoder)
        and (row.names[2] or "nonlinear") == block.aggregator
    )
    return TablePart(block, benchmark, store, published)


def reproduce(
    asked: TableRequest,
    parts: Sequence[TablePart],
    run_all: Callable[[Sequence[Request]], list[Outcome]],
) -> tuple[list[Reproduced], list[Outcome]]:
    """Run everything that the parts need and that has no record yet.

    Args:
        asked: What was asked.
        parts: As `available` gives them.
        run_all: Runs requests, as `meid_bench.training.many.run_on_each` does.
    """
    requests = {
        (number, variant.label, seed): request_of(asked, part, variant, seed)
        for seed in asked.seeds  # all rows of a seed first
        for number, part in enumerate(parts)
        for variant in part.block.variants
    }
    outcomes = run_all(list(requests.values()))
    found = dict(zip(requests, outcomes, strict=True))
    reproduced = []
    for number, part in enumerate(parts):
        rows = {}
        for variant in part.block.variants:
            ended = [found[number, variant.label, seed] for seed in asked.seeds]
            runs = {o.folder: o.result for o in ended if o.folder and o.result}
            if runs:
                rows[variant.label] = make_row(runs)
        reproduced.append(Reproduced(part, rows))
    return reproduced, outcomes


def request_of(asked: TableRequest, part: TablePart, variant: Variant, seed: int) -> Request:
    """The run behind a row, with one seed."""
    return Request(
        method=variant.method,
        dataset=part.block.dataset,
        aggregator=part.block.aggregator,
        seed=seed,
        features=part.store.name,
        preset=variant.preset,
        settings={**asked.settings, **variant.settings},
        allow_missing=asked.allow_missing,
        protocol=asked.protocol,
        quick=asked.quick,
        label=f"{part.block.dataset}, {part.block.aggregator}: {variant.label}",
    )
