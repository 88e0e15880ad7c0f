"""A board as a pandas frame and as text (table, markdown, csv, json); a comparison as text."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from meid_bench.benchmark.longtail import GROUPS
from meid_bench.number_text import difference_text, interval_text, score_text
from meid_bench.results.board import Board, Section, load_board
from meid_bench.results.comparison import Comparison, mark_ties
from meid_bench.results.counterpart import counterpart
from meid_bench.results.fitted_table import WIDTH, fitted_table
from meid_bench.results.joint_intervals import CONFIDENCE
from meid_bench.results.metrics import NUMBERS, Metrics
from meid_bench.results.published import PublishedRow, caution, published_results, table_title
from meid_bench.results.record import kind_of
from meid_bench.results.rows import Row, Spread

PUBLISHED = "published"
CHANCE = "chance"
BESIDE = "- paper"  # heading of the differences to published numbers
# What a narrow terminal can do without, the first one first; views are before all of these.
OPTIONAL = ("acc5", "acc1", "medium", "head")


def board_frame(board: Board) -> pd.DataFrame:
    """One line per row, ranked within its section; then chance and what was published.

    Columns: kind ("run", "submission", "chance", "published"), rank, method, network, aggregator,
    preset, protocol, variant, features, features_fingerprint, encoder, overall, overall_std and
    so on for head, medium, tail, acc1, acc5 and views, published_overall (of the same method,
    aggregator and encoder), seeds (how many), marks, note, benchmark, benchmark_fingerprint. What
    a line has not is missing; a published number has no rank.
    """
    lines = [
        _line(section, rank, row, board)
        for section in board.sections
        for rank, row in enumerate(section.rows, start=1)
    ]
    lines.append({"kind": CHANCE, "method": CHANCE, **board.chance})
    for printed in published_results(board.benchmark.published):
        notes = (_source(printed), caution(printed.dataset), printed.note)
        names = ("method", "aggregator", "encoder", *NUMBERS)
        line = {name: getattr(printed, name) for name in names}
        lines.append({"kind": PUBLISHED, **line, "note": "; ".join(filter(None, notes))})
    frame = pd.DataFrame(lines).assign(
        benchmark=board.benchmark.name, benchmark_fingerprint=board.benchmark.fingerprint
    )
    first = ["kind", "rank", "method", "network", "aggregator", "preset", "protocol", "variant"]
    first += ["features", "features_fingerprint", "encoder"]
    views = [name for name in map(str, frame) if name.split("_")[0].endswith(" overall")]
    scores = [name for number in NUMBERS for name in (number, f"{number}_std")]
    last = ["published_overall", "seeds", "marks", "note", "benchmark", "benchmark_fingerprint"]
    frame = frame.reindex(columns=[*first, *scores, *views, *last])
    return frame.astype({"rank": "Int64", "seeds": "Int64"})


def _line(section: Section, rank: int, row: Row, board: Board) -> dict[str, Any]:
    run, features = row.run, section.features
    printed = counterpart(row, board.benchmark)
    line: dict[str, Any] = {
        "kind": kind_of(row.first),
        "rank": rank,
        "method": row.first.method,
        "network": run.network if run else None,
        "aggregator": run.aggregator if run else None,
        "preset": run.preset if run else None,
        "protocol": row.protocol,
        "variant": json.dumps(row.variant, sort_keys=True) if row.variant else None,
        "features": features.name if features else None,
        "features_fingerprint": features.fingerprint if features else None,
        "encoder": features.encoder if features else None,
        "published_overall": printed.overall if printed else None,
        "seeds": len(row.seeds) or None,
        "marks": "; ".join(row.marks) or None,
    }
    for measure, value in row.scores.items():
        line |= {measure: value.mean, f"{measure}_std": value.std}
    return line


def format_board(board: Board, style: str, width: int = WIDTH) -> str:
    """The board as text.

    Args:
        board: What to show.
        style: "table" (terminal), "markdown", "csv" or "json".
        width: Characters that a line of the table may have; the other styles leave nothing out.
    """
    if style == "csv":
        return board_frame(board).to_csv(index=False).rstrip("\n")
    if style == "json":
        return _json(board)
    return _terminal(board, width) if style == "table" else _markdown(board)


def format_comparison(comparison: Comparison) -> str:
    """The comparison as text for a terminal."""
    parts = [
        f"Paired bootstrap over {comparison.clusters} test {comparison.unit}, "
        f"{comparison.resamples:,} resamples, and variance over seeds. Difference of test mAP; the "
        f"intervals hold together, at {CONFIDENCE:.0%}, for all pairs of the {comparison.family} "
        "rows of their part of the board"
    ]
    for (first, second), measures in comparison.differences.items():
        lines = [
            [
                measure,
                difference_text(i.difference, 4),
                interval_text(i.low, i.high, 4),
                "differs" if i.differs else "",
            ]
            for measure, i in measures.items()
        ]
        headers = ["", "difference", f"{CONFIDENCE:.0%} interval", ""]
        parts.append(f"{first} - {second}\n" + tabulate(lines, headers, disable_numparse=True))
    tied = ", ".join(comparison.tied) or "none"
    against = ", ".join(f"{name} {p:.3g}" for name, p in comparison.p.items())
    parts.append(
        f'Best overall: {comparison.best}. Cannot be told from it: {tied}. p of "as good as the '
        f'best", for all pairs together: {against or "unknown"}'
    )
    dropped = ", ".join(f"{name} {value:.2f}" for name, value in comparison.dropped.items())
    parts.append(f"Classes that a resample left without positives, on average: {dropped}")
    return "\n\n".join([*parts, *comparison.notes])


def metrics_line(metrics: Metrics) -> str:
    """Metrics in a line, as "0.151 (head 0.217, ..., tail 0.076), Acc@1 0.401, Acc@5 0.812"."""

    def named(values: Mapping[str, float | None]) -> list[str]:
        return [
            f"{name} {score_text(value)}" for name, value in values.items() if value is not None
        ]

    groups = ", ".join(named({group: getattr(metrics, group) for group in GROUPS}))
    accuracies = named({"Acc@1": metrics.acc1, "Acc@5": metrics.acc5})
    return ", ".join([f"{score_text(metrics.overall)} ({groups})", *accuracies])


def spread_text(value: Spread) -> str:
    """Mean and deviation, for example "0.151 ± 0.003"."""
    return score_text(value.mean) + ("" if value.std is None else f" ± {score_text(value.std)}")


def _source(row: PublishedRow) -> str:
    return "VideoLT's model zoo" if row.table == "zoo" else f"MEID, {table_title(row.table)}"


def row_texts(rank: int, row: Row, board: Board) -> dict[str, str]:
    """A row of the board as texts: names, each of `NUMBERS` and views, seeds and notes."""
    run = row.run
    names = {"aggregator": run.aggregator if run else "", "preset": (run and run.preset) or ""}
    texts = {"rank": str(rank), "method": row.name, **names, **_texts(row.scores)}
    return {**texts, **_last(row, board), "notes": "; ".join(row.marks)}


def published_lines(board: Board) -> list[dict[str, str]]:
    """Published rows as texts: names, each of `NUMBERS`, source and notes."""
    lines = []
    for row in published_results(board.benchmark.published):
        line = {"method": row.method, "encoder": row.encoder, "aggregator": row.aggregator or ""}
        line |= {name: score_text(getattr(row, name)) for name in NUMBERS}
        lines.append({**line, "source": _source(row), "notes": row.note or ""})
    return lines


def _terminal(board: Board, width: int) -> str:
    """Only overall and tail with their deviation: that is what rows are compared by."""
    parts = [_heading(board)]
    for section in board.sections:
        shared, names = _names(section)
        views = [name for name in section.rows[0].scores if name not in NUMBERS]
        lines = [
            {"rank": str(rank), "method": name, **_short(row.scores, views), **_last(row, board)}
            for rank, (row, name) in enumerate(zip(section.rows, names, strict=True), start=1)
        ]
        chance = {"rank": "", "method": CHANCE, **_short(_chance(board), views)}
        lines.append({**chance, BESIDE: "", "seeds": ""})
        notes = [*(row.marks for row in section.rows), ()]
        table = fitted_table(lines, notes, width, (*views, *OPTIONAL))
        parts += [f"{section.title}{shared}", table]
    lines = published_lines(board)
    if lines:
        notes = [(line.pop("source"), *filter(None, [line.pop("notes")])) for line in lines]
        parts += [_published_heading(board), fitted_table(lines, notes, width, OPTIONAL)]
    return "\n\n".join(parts)


def _markdown(board: Board) -> str:
    parts = [f"## {_heading(board)}"]
    for section in board.sections:
        lines = [row_texts(rank, row, board) for rank, row in enumerate(section.rows, start=1)]
        lines.append({"method": CHANCE, **_texts(_chance(board))})
        parts += [section.title, _whole_table(lines)]
    lines = published_lines(board)
    if lines:
        parts += [_published_heading(board), _whole_table(lines)]
    return "\n\n".join(parts)


def _heading(board: Board) -> str:
    fingerprint = board.benchmark.fingerprint[:8]
    title = f"{board.title} (split {fingerprint}), test mAP and Acc@k, mean ± std over seeds"
    if board.sections:
        return title
    return f"{title}\n\nNo run is on this board yet; `meid-bench run --method plain` makes one."


def _published_heading(board: Board) -> str:
    name = board.benchmark.published or ""
    return f"Published for {name}, not ranked: {caution(name)}"


def _whole_table(lines: Sequence[Mapping[str, str]]) -> str:
    # A column that says nothing in any line only takes room.
    columns = [c for c in lines[0] if any(line.get(c) for line in lines)]
    cells = [[line.get(column, "") for column in columns] for line in lines]
    return tabulate(cells, headers=columns, tablefmt="github", disable_numparse=True)


def _names(section: Section) -> tuple[str, list[str]]:
    """What all rows share, for the heading, and each row's name with what they do not share."""
    shared = ""
    names = [row.name.split("/") for row in section.rows]
    for key in ("preset", "aggregator"):
        values = [getattr(row.run, key, None) for row in section.rows]
        if len(set(values)) == 1:
            shared += f", {key} {values[0]}" if values[0] else ""
            continue
        for name, value in zip(names, values, strict=True):
            name[1:1] = [value] if value else []
    return shared, ["/".join(name) for name in names]


def _short(scores: Mapping[str, Spread], views: Sequence[str]) -> dict[str, str]:
    texts = {name: score_text(value.mean) for name, value in scores.items()}
    for name in ("overall", "tail"):
        if name in scores:
            texts[name] = spread_text(scores[name]).replace(" ", "")
    return {name: texts.get(name, "") for name in (*NUMBERS, *views)}


def _texts(scores: Mapping[str, Spread]) -> dict[str, str]:
    return dict.fromkeys(NUMBERS, "") | {k: spread_text(v) for k, v in scores.items()}


def _chance(board: Board) -> dict[str, Spread]:
    return {k: Spread(value, None) for k, value in board.chance.items() if value is not None}


def _last(row: Row, board: Board) -> dict[str, str]:
    """Overall mAP less the published one, and how many seeds."""
    printed = counterpart(row, board.benchmark)
    overall = row.scores["overall"].mean
    beside = "" if printed is None else difference_text(overall - printed.overall)
    return {BESIDE: beside, "seeds": str(len(row.seeds) or "")}


def _json(board: Board) -> str:
    rows = json.loads(board_frame(board).to_json(orient="records", double_precision=15))
    data = {"title": board.title, "left_out": board.left_out, "rows": rows}
    return json.dumps(data, ensure_ascii=False, indent=1)


def leaderboard(dataset: str = "charadeslt", root: Path | None = None) -> pd.DataFrame:
    """The board as a pandas frame: one line per row, the chance row, then published numbers.

    Rows have the marks that the command shows.

    Args:
        dataset: Name of a built benchmark.
        root: The data root; $MEID_BENCH_HOME or ./data where it is left out.

    Raises:
        MeidBenchError: The benchmark has not been built.
    """
    return board_frame(mark_ties(load_board(dataset, root))[0])
