"""Reproduced tables as text: ours, and the paper's in a block of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from meid_bench.benchmark.benchmark import load_benchmark
from meid_bench.benchmark.longtail import table1_row
from meid_bench.errors import MeidBenchError
from meid_bench.number_text import difference_text, score_text
from meid_bench.results.board import PROTOCOL_TITLES
from meid_bench.results.board_text import spread_text
from meid_bench.results.counterpart import unchanged
from meid_bench.results.metrics import MEASURES
from meid_bench.results.published import PublishedRow, caution, published_statistics
from meid_bench.results.rows import Row, setting_text
from meid_bench.training.paper_table import DATASETS, Variant
from meid_bench.training.reproduce import Reproduced, TablePart, TableRequest

# A number of a table to its column's heading.
HEADINGS = {**{name: name for name in MEASURES}, "acc1": "Acc@1", "acc5": "Acc@5"}


def format_reproduced(one: Reproduced, asked: TableRequest) -> str:
    """Our rows and the paper's, with the columns that the paper prints."""
    part = one.part
    protocols = frozenset(  # a table's own settings of a row are no change
        "changed"
        if row.protocol == "changed" and row.variant.keys() - variant.settings
        else "paper"
        for variant, row in _rows(one)
        if row.protocol != "equal"
    )
    protocol = PROTOCOL_TITLES.get(protocols, asked.protocol)
    title = (
        f"{part.benchmark.title}, {part.block.aggregator}, features {part.store.name}, "
        f"protocol {protocol}: test mAP, mean ± std over seeds {', '.join(map(str, asked.seeds))}"
    )
    parts = [title, _ours(one, asked.preset)]
    if part.store.untrained:
        parts.append("The encoder was untrained: these numbers say nothing of real features.")
    if part.published:
        dataset = part.published[0].dataset
        parts += [f"Published for {dataset}: {caution(dataset)}", _theirs(part)]
    return "\n\n".join(parts)


def _rows(one: Reproduced) -> list[tuple[Variant, Row]]:
    return [(v, one.rows[v.label]) for v in one.part.block.variants if v.label in one.rows]


def _ours(one: Reproduced, preset: str | None) -> str:
    lines = []
    for variant, row in _rows(one):
        line = {"method": variant.label}
        line |= {name: spread_text(row.scores[name]) for name in HEADINGS if name in row.scores}
        published = _comparable(one.part, variant, row)
        if published is not None:
            line["ours - paper"] = difference_text(row.scores["overall"].mean - published.overall)
        line["seeds"] = str(len(row.seeds))
        line["notes"] = "; ".join(_notes(one.part, variant, row, preset))
        lines.append(line)
    lines += [{"method": label, "notes": why} for label, why in one.part.block.left_out.items()]
    return _table(lines, ["method", *HEADINGS, "ours - paper", "seeds", "notes"])


def _comparable(part: TablePart, variant: Variant, row: Row) -> PublishedRow | None:
    """The published row that ours may be subtracted from: of the same lists and encoder."""
    encoder = part.store.manifest.encoder
    if encoder != part.block.encoder or not (row.run and unchanged(row.run, variant.settings)):
        return None
    return next((p for p in part.published if p.method == variant.label), None)


def _notes(part: TablePart, variant: Variant, row: Row, preset: str | None) -> list[str]:
    record = row.run
    assert record is not None  # a table is made of runs
    published = {published.method for published in part.published}
    conditions = {
        f"QUICK: {record.epochs} epochs": record.quick,
        "not in the paper's table": bool(published) and variant.label not in published,
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
