"""Reproduced tables as text: ours, and the paper's in a block of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from meid_bench.benchmark.benchmark import load_benchmark
from meid_bench.benchmark.longtail import table1_row
from meid_bench.errors import MeidBenchError
from meid_bench.number_text import difference_text, interval_text, score_text
from meid_bench.results.board import PROTOCOL_TITLES
from meid_bench.results.board_text import spread_text
from meid_bench.results.joint_intervals import CONFIDENCE
from meid_bench.results.kept_draws import cluster_videos
from meid_bench.results.metrics import MEASURES, chance
from meid_bench.results.published import PublishedRow, caution, published_statistics
from meid_bench.results.rows import Row, setting_text
from meid_bench.training.leak import RESAMPLES, Leak, shared_subjects
from meid_bench.training.paper_table import DATASETS
from meid_bench.training.reproduce import Reproduced, TablePart, TableRequest, comparable

# A number of a table to its column's heading.
HEADINGS = {**{name: name for name in MEASURES}, "acc1": "Acc@1", "acc5": "Acc@5"}


def format_reproduced(one: Reproduced, asked: TableRequest) -> str:
    """Our rows and the paper's, with the columns that the paper prints."""
    part = one.part
    own = {variant.label: variant.settings for variant in part.block.variants}
    protocols = frozenset(  # a table's own settings of a row are no change
        "changed" if row.protocol == "changed" and row.variant.keys() - own[label] else "paper"
        for label, row in one.rows.items()
        if row.protocol != "equal"
    )
    protocol = PROTOCOL_TITLES.get(protocols, asked.protocol)
    title = (
        f"{part.benchmark.title}, {part.block.aggregator}, features {part.store.folder.name}, "
        f"protocol {protocol}: test mAP, mean ± std over seeds {_seeds(asked.seeds)}"
    )
    parts = [title, _ours(one, asked.preset)]
    if part.store.untrained:
        parts.append("The encoder was untrained: these numbers say nothing of real features.")
    if part.published:
        dataset = part.published[0].dataset
        parts += [f"Published for {dataset}: {caution(dataset)}", _theirs(part)]
    return "\n\n".join(parts)


def _ours(one: Reproduced, preset: str | None) -> str:
    lines = []
    for label, row in one.rows.items():
        line = {"method": label}
        line |= {name: spread_text(row.scores[name]) for name in HEADINGS if name in row.scores}
        published = comparable(one.part, label, row)
        line["ours - paper"] = "" if published is None else _difference(row, published)
        line["seeds"] = str(len(row.seeds))
        line["notes"] = "; ".join(_notes(one.part, label, row, preset))
        lines.append(line)
    lines += [{"method": label, "notes": why} for label, why in one.part.block.left_out.items()]
    return _table(lines, ["method", *HEADINGS, "ours - paper", "seeds", "notes"])


def _difference(row: Row, published: PublishedRow) -> str:
    return difference_text(row.scores["overall"].mean - published.overall)


def _notes(part: TablePart, label: str, row: Row, preset: str | None) -> list[str]:
    record = row.run
    assert record is not None  # a table is made of runs
    (variant,) = (variant for variant in part.block.variants if variant.label == label)
    published = {published.method for published in part.published}
    conditions = {
        f"QUICK: {record.epochs} epochs": record.quick,
        "not in the paper's table": bool(published) and label not in published,
        f"has no preset {preset}": preset is not None and variant.preset is None,
        f"method {record.method}": record.method != variant.method,
        f"preset {record.preset}": record.preset is not None,
    }
    notes = [note for note, holds in conditions.items() if holds]
    changed = {n: value for n, value in row.variant.items() if n not in variant.settings}
    notes += [f"{name}={setting_text(value)}" for name, value in changed.items()]
    return [*notes, *(mark for mark in row.marks if mark not in ("quick", "untrained encoder"))]


def _theirs(part: TablePart) -> str:
    lines = []
    for row in part.published:
        numbers = {name: getattr(row, name) for name in HEADINGS}
        known = {name: score_text(value) for name, value in numbers.items()}
        lines.append({"method": row.method, **known, "notes": row.note or ""})
    return _table(lines, ["method", *HEADINGS, "notes"])


def _table(lines: Sequence[Mapping[str, str]], columns: Sequence[str]) -> str:
    """A column that says nothing in any line only takes room."""
    shown = [column for column in columns if any(line.get(column) for line in lines)]
    cells = [[line.get(column, "") for column in shown] for line in lines]
    headers = [HEADINGS.get(column, column) for column in shown]
    return tabulate(cells, headers=headers, disable_numparse=True)


def format_leak(leak: Leak) -> str:
    """Each row on the official lists and on the subject-disjoint ones, with the difference."""
    names = [benchmark.name for benchmark in leak.benchmarks]
    shared = [shared_subjects(benchmark) for benchmark in leak.benchmarks]
    unit = cluster_videos(leak.benchmarks[0])[1]
    notes = [
        f"{CONFIDENCE:.0%} intervals: the test {unit} of each list were resampled by themselves, "
        f"{RESAMPLES:,} times, and moved as other seeds may move a row (Student's t). How the "
        "lists were drawn is not in the intervals, "
        "and they differ in more than the leak: other videos are in train and in test.",
    ]
    if leak.seeds == 1:
        notes.append("One seed: how far another would move a row is not in its interval.")
    if not leak.same_features:
        notes.append("The features of the two were made differently too.")
    return "\n\n".join(
        [
            f"What the leak pays, {leak.aggregator}: test mAP on {names[0]} - on {names[1]}",
            "; ".join(
                f"{name}: {both} of {total} subjects of test are in train too"
                for name, (both, total) in zip(names, shared, strict=True)
            ),
            *(_gains(leak, measure) for measure in ("overall", "tail")),
            *notes,
        ]
    )


def _gains(leak: Leak, measure: str) -> str:
    column = leak.measures.index(measure)
    lines = []
    for row, intervals in leak.gains.items():
        if measure in intervals:
            found = intervals[measure]
            sides = [score_text(side[row].full[column]) for side in leak.drawn]
            interval = interval_text(found.low, found.high)
            lines.append([row, *sides, difference_text(found.difference), interval])
    by_chance = [
        chance(benchmark.labels("test"), benchmark.groups)[measure] for benchmark in leak.benchmarks
    ]
    first, second = (np.nan if value is None else value for value in by_chance)
    sides = [score_text(first), score_text(second)]
    lines.append(["chance", *sides, difference_text(first - second), ""])
    names = [benchmark.name for benchmark in leak.benchmarks]
    headers = [measure, *names, "difference", "interval"]
    return tabulate(lines, headers=headers, disable_numparse=True)


def format_table1(root: Path) -> tuple[str, list[str]]:
    """Table 1: each built benchmark's row above the paper's; a sentence for each not built."""
    headers: list[str] = []
    lines, missing = [], []
    for name, title in DATASETS.items():
        expected = published_statistics(title)
        try:
            built = load_benchmark(name, root).statistics()
        except MeidBenchError as error:
            missing.append(f"{title}: {error}")
            built = None
        numbers = table1_row(built or expected, expected)
        headers = [number.name for number in numbers]
        if built is not None:
            lines.append([f"{title}, built", *(number.built for number in numbers)])
        lines.append([f"{title}, paper", *(number.expected or "" for number in numbers)])
    return tabulate(lines, headers=["", *headers], disable_numparse=True), missing


def _seeds(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
