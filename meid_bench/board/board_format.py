"""A board as a pandas frame and as text (table, markdown, csv, json); a comparison as text."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from tabulate import tabulate

from meid_bench.board.bootstrap import CONFIDENCE, Interval
from meid_bench.board.compare import Comparison
from meid_bench.board.published import PublishedRow, caution, published_results, table_title
from meid_bench.leaderboard import Board, Row, Section, Spread
from meid_bench.longtail import GROUPS
from meid_bench.metrics import MEASURES, Metrics

PUBLISHED = "published"
CHANCE = "chance"


def board_frame(board: Board) -> pd.DataFrame:
    """One line per row, ranked within its section; then chance and what was published.

    Columns: kind ("run", "submission", "chance", "published"), rank, method, network, aggregator,
    preset, protocol, variant, features, features_fingerprint, encoder, overall, overall_std and
    so on for head, medium, tail and views, seeds (how many), marks, note, benchmark,
    benchmark_fingerprint. What a line has not is missing; a published number has no rank.
    """
    lines = [
        _line(section, rank, row)
        for section in board.sections
        for rank, row in enumerate(section.rows, start=1)
    ]
    lines.append({"kind": CHANCE, "method": CHANCE, **board.chance})
    lines += [_published_line(row, board) for row in _published(board)]
    frame = pd.DataFrame(lines).assign(
        benchmark=board.benchmark.name, benchmark_fingerprint=board.benchmark.fingerprint
    )
    first = ["kind", "rank", "method", "network", "aggregator", "preset", "protocol", "variant"]
    first += ["features", "features_fingerprint", "encoder"]
    views = [name for name in map(str, frame) if name.split("_")[0].endswith(" overall")]
    scores = [name for measure in MEASURES for name in (measure, f"{measure}_std")]
    last = ["seeds", "marks", "note", "benchmark", "benchmark_fingerprint"]
    frame = frame.reindex(columns=[*first, *scores, *views, *last])
    return frame.astype({"rank": "Int64", "seeds": "Int64"})


def format_board(board: Board, style: str) -> str:
    """The board as text.

    Args:
        board: What to show.
        style: "table" (terminal), "markdown", "csv" or "json".
    """
    return FORMATS[style](board)


def format_comparison(comparison: Comparison) -> str:
    """The comparison as text for a terminal."""
    parts = [
        f"Paired bootstrap over {comparison.clusters} test {comparison.unit} and over seeds, "
        f"{comparison.resamples:,} resamples; difference of test mAP, {CONFIDENCE:.0%} interval"
    ]
    for (first, second), measures in comparison.differences.items():
        lines = [
            [measure, f"{i.difference:+.4f}", f"[{i.low:+.4f}, {i.high:+.4f}]", _verdict(i)]
            for measure, i in measures.items()
        ]
        headers = ["", "difference", f"{CONFIDENCE:.0%} interval", ""]
        parts.append(f"{first} - {second}\n" + tabulate(lines, headers, disable_numparse=True))
    told = [f"{name} (p = {p:.3g})" for name, p in comparison.adjusted.items()]
    tied = ", ".join(comparison.tied) or "none"
    parts.append(
        f"Best overall: {comparison.best}. Cannot be told from it: {tied}. "
        f"Holm-corrected against {len(told)}: {', '.join(told)}"
    )
    dropped = ", ".join(f"{name} {value:.2f}" for name, value in comparison.dropped.items())
    parts.append(f"Classes that a resample left without positives, on average: {dropped}")
    return "\n\n".join([*parts, *comparison.notes])


def metrics_line(metrics: Metrics) -> str:
    """Metrics in one line, for example "0.151 (head 0.217, medium 0.151, tail 0.076)"."""
    groups = {group: getattr(metrics, group) for group in GROUPS}
    known = [f"{group} {value:.3f}" for group, value in groups.items() if value is not None]
    return f"{metrics.overall:.3f} ({', '.join(known)})"


def _text(board: Board, tablefmt: str, heading: str) -> str:
    fingerprint = board.benchmark.fingerprint[:8]
    parts = [f"{heading}{board.title} (split {fingerprint}), test mAP, mean ± std over seeds"]
    chance: Mapping[str, Spread] = {k: Spread(v, None) for k, v in board.chance.items()}
    for section in board.sections:
        lines = [_cells(row, rank) for rank, row in enumerate(section.rows, start=1)]
        lines.append(_named("", CHANCE, chance) | {"seeds": "", "notes": ""})
        parts += [section.title, _table(lines, tablefmt)]
    if not board.sections:
        parts.append("No run is on this board yet; `meid-bench run --method plain` makes one.")
    published = _published(board)
    if published:
        assert board.benchmark.published is not None
        parts.append(
            f"Published for {board.benchmark.published}, not ranked: "
            f"{caution(board.benchmark.published)}"
        )
        parts.append(_table([_published_cells(row) for row in published], tablefmt))
    return "\n\n".join(parts)


def _table(lines: list[dict[str, str]], tablefmt: str) -> str:
    # A column that says nothing in any line only takes room.
    columns = [c for c in lines[0] if any(line.get(c) for line in lines)]
    cells = [[line.get(column, "") for column in columns] for line in lines]
    return tabulate(cells, headers=columns, tablefmt=tablefmt, disable_numparse=True)


def _cells(row: Row, rank: int) -> dict[str, str]:
    record = row.first
    names = {"aggregator": record.aggregator or "", "preset": record.preset or ""}
    seeds = {"seeds": str(len(row.seeds) or ""), "notes": "; ".join(row.marks)}
    return _named(str(rank), row.name, row.scores, names) | seeds


def _named(
    rank: str, name: str, scores: Mapping[str, Spread], names: Mapping[str, str] | None = None
) -> dict[str, str]:
    numbers = dict.fromkeys(MEASURES, "") | {k: spread_text(v) for k, v in scores.items()}
    return {"rank": rank, "method": name, **(names or {"aggregator": "", "preset": ""}), **numbers}


def spread_text(value: Spread) -> str:
    """Mean and deviation, for example "0.151 ± 0.003"."""
    return f"{value.mean:.3f}" + ("" if value.std is None else f" ± {value.std:.3f}")


def _published_cells(row: PublishedRow) -> dict[str, str]:
    numbers = {measure: f"{getattr(row, measure):.3f}" for measure in MEASURES}
    names = {"method": row.method, "encoder": row.encoder, "aggregator": row.aggregator or ""}
    return {**names, **numbers, "source": where_published(row), "notes": row.note or ""}


def where_published(row: PublishedRow) -> str:
    """Which table a published row is from."""
    return "VideoLT's model zoo" if row.table == "zoo" else f"MEID, {table_title(row.table)}"


def _published(board: Board) -> tuple[PublishedRow, ...]:
    name = board.benchmark.published
    return () if name is None else published_results(name)


def _line(section: Section, rank: int, row: Row) -> dict[str, Any]:
    record, features = row.first, section.features
    line: dict[str, Any] = {
        "kind": record.source,
        "rank": rank,
        "method": record.method,
        "network": record.network,
        "aggregator": record.aggregator,
        "preset": record.preset,
        "protocol": record.protocol,
        "variant": json.dumps(row.variant, sort_keys=True) if row.variant else None,
        "features": features.name if features else None,
        "features_fingerprint": features.fingerprint if features else None,
        "encoder": features.encoder if features else None,
        "seeds": len(row.seeds) or None,
        "marks": "; ".join(row.marks) or None,
    }
    for measure, value in row.scores.items():
        line |= {measure: value.mean, f"{measure}_std": value.std}
    return line


def _published_line(row: PublishedRow, board: Board) -> dict[str, Any]:
    assert board.benchmark.published is not None
    notes = (where_published(row), caution(board.benchmark.published), row.note)
    return {
        "kind": PUBLISHED,
        "method": row.method,
        "aggregator": row.aggregator,
        "encoder": row.encoder,
        "note": "; ".join(note for note in notes if note),
        **{measure: getattr(row, measure) for measure in MEASURES},
    }


def _json(board: Board) -> str:
    rows = json.loads(board_frame(board).to_json(orient="records", double_precision=15))
    data = {"title": board.title, "left_out": board.left_out, "rows": rows}
    return json.dumps(data, ensure_ascii=False, indent=1)


def _verdict(interval: Interval) -> str:
    return "" if interval.low <= 0 <= interval.high else "differs"


FORMATS: dict[str, Callable[[Board], str]] = {
    "table": lambda board: _text(board, "simple", ""),
    "markdown": lambda board: _text(board, "github", "## "),
    "csv": lambda board: board_frame(board).to_csv(index=False).rstrip("\n"),
    "json": _json,
}
