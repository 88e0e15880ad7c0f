"""Report: the records of one data root as one self-contained HTML page."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bokeh.resources import Resources
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from meid_bench import __version__
from meid_bench.benchmark.benchmark import BENCHMARK_FILE, load_benchmark
from meid_bench.benchmark.longtail import GROUPS
from meid_bench.errors import DataError
from meid_bench.files import benchmark_dir, home, runs_dir, write_text
from meid_bench.number_text import score_text
from meid_bench.results import report_plots
from meid_bench.results.board import Board, make_board
from meid_bench.results.board_text import published_lines
from meid_bench.results.comparison import mark_ties
from meid_bench.results.counterpart import counterpart
from meid_bench.results.metrics import NUMBERS
from meid_bench.results.published import caution
from meid_bench.results.record import RECORD, CurvePoint, read_curve, read_records
from meid_bench.results.report_rows import cells, class_aps, row_labels, run_facts, run_title

# All pictures of one page together; Bokeh itself takes 1.3 MB of the 5.
PICTURE_BYTES = 2_000_000
PICTURES = "inspect-*.png"
COLUMNS = ("rank", "method", *NUMBERS, "aggregator", "preset", "seeds", "notes")
PUBLISHED = ("method", *NUMBERS, "encoder", "aggregator", "source", "notes")


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        path: The page.
        runs: How many records it shows.
        problems: One sentence for each record or picture that is not in it.
    """

    path: Path
    runs: int
    problems: tuple[str, ...]


def write_report(
    path: Path,
    datasets: Sequence[str] | None = None,
    root: Path | None = None,
    quick: bool = False,
) -> Report:
    """Write the page, whole or not at all.

    Args:
        path: Where to.
        datasets: Built benchmarks; None for every one with runs.
        root: The data root; $MEID_BENCH_HOME or ./data where it is left out.
        quick: Show quick runs, as what they are, in place of the boards.

    Raises:
        MeidBenchError: A named benchmark has not been built.
    """
    root = home() if root is None else root
    if datasets is None:
        built = (path.parent.name for path in benchmark_dir(root, "").glob(f"*/{BENCHMARK_FILE}"))
        datasets = [n for n in sorted(built) if any(runs_dir(root, n).glob(f"*/{RECORD}"))]
    parts, problems = [], []
    for position, name in enumerate(datasets):
        benchmark = load_benchmark(name, root)
        records, unreadable = read_records(runs_dir(root, name))
        board, untested = mark_ties(make_board(records, benchmark, quick=quick))
        part = _Part(f"d{position}", board)
        parts.append(part)
        problems += [*unreadable, *untested, *part.problems]
    write_text(path, _render(parts, problems))
    return Report(path, sum(len(part.runs) for part in parts), tuple(problems))


class _Part:
    """One benchmark of the page: what the template shows and what the script draws."""

    def __init__(self, name: str, board: Board) -> None:
        self.id = name
        self.board = board
        self.problems: list[str] = []
        self.labels = row_labels(board)
        rows = list(zip(self.labels, board.rows, strict=True))
        self.runs = [
            (run_title(label, record), folder, record)
            for label, row in rows
            for folder, record in row.runs.items()
        ]
        printed = {label: counterpart(row, board.benchmark) for label, row in rows}
        self.matched = {
            label: {group: getattr(numbers, group) for group in GROUPS}
            for label, numbers in printed.items()
            if numbers is not None
        }
        self.curves = self._read_curves()
        self.pictures = self._read_pictures()

    def _read_curves(self) -> list[report_plots.Curve]:
        curves = []
        for position, (label, row) in enumerate(zip(self.labels, self.board.rows, strict=True)):
            seeds: dict[str, list[CurvePoint]] = {}
            for folder, record in row.runs.items():
                try:
                    seeds[run_title(label, record)] = read_curve(folder)
                except DataError as error:
                    self.problems.append(str(error))
            seeds = {run: points for run, points in seeds.items() if points}
            if seeds:
                colour, dash = report_plots.curve_style(position)
                curves.append(report_plots.Curve(f"curve-{position}", label, colour, dash, seeds))
        return curves

    def _read_pictures(self) -> list[dict[str, str]]:
        pictures, size = [], 0
        for path in (p for _, folder, _ in self.runs for p in sorted(folder.glob(PICTURES))):
            content = path.read_bytes()
            size += len(content)
            if size > PICTURE_BYTES:
                self.problems.append(f"{path} is left out: the page's pictures would pass 2 MB")
                break
            title = f"{path.stem.removeprefix('inspect-')}, {path.parent.name}"
            pictures.append({"title": title, "data": base64.b64encode(content).decode()})
        return pictures

    def context(self) -> dict[str, Any]:
        """What the template shows."""
        board, benchmark = self.board, self.board.benchmark
        sections = [
            (section.title, [cells(rank, row, board) for rank, row in enumerate(section.rows, 1)])
            for section in board.sections
        ]
        filled = [row["cells"] for _, rows in sections for row in rows]
        published = published_lines(board)
        # A column that says nothing in any row only takes room.
        return {
            "id": self.id,
            "name": benchmark.name,
            "title": board.title,
            "fingerprint": benchmark.fingerprint,
            "columns": [key for key in COLUMNS if any(row[key]["text"] for row in filled)],
            "numeric": {"rank", "seeds", *NUMBERS},
            "sections": sections,
            "chance": dict.fromkeys(COLUMNS, "")
            | {"method": "chance"}
            | {name: score_text(value) for name, value in board.chance.items()},
            "left_out": board.left_out,
            "published": published,
            "published_columns": [k for k in PUBLISHED if any(line[k] for line in published)],
            "published_name": benchmark.published,
            "caution": caution(benchmark.published) if benchmark.published else "",
            "matched": self.matched,
            "labels": self.labels,
            "curves": self.curves,
            "pictures": self.pictures,
            "warnings": [(run, text) for run, _, record in self.runs for text in record.warnings],
            "runs": [run_facts(*run) for run in self.runs],
        }

    def data(self) -> dict[str, Any]:
        """What the script draws."""
        benchmark, rows = self.board.benchmark, self.board.rows
        group = {int(c): name for name, index in benchmark.groups.items() for c in index}
        plots: dict[str, Any] = {}
        if rows:
            counts = int(benchmark.counts.min()), int(benchmark.counts.max())
            plots |= report_plots.bars(rows, self.labels, self.matched)
            plots |= report_plots.classes(benchmark.bins, *counts)
            plots |= report_plots.gain()
        if self.curves:
            plots |= report_plots.curves(self.curves)
        return {
            "classes": benchmark.classes,
            "counts": benchmark.counts.tolist(),
            "groups": [group[c] for c in range(len(benchmark.classes))],
            "rows": [
                {"label": label, "ap": class_aps(row)}
                for label, row in zip(self.labels, rows, strict=True)
            ],
            "plots": plots,
        }


def _render(parts: Sequence[_Part], problems: Sequence[str]) -> str:
    assets = Path(__file__).with_name("report_assets")
    environment = Environment(
        loader=FileSystemLoader(assets), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    data = json.dumps({part.id: part.data() for part in parts}, ensure_ascii=False)
    title = f"meid-bench: {parts[0].board.title}" if len(parts) == 1 else "meid-bench: results"
    return environment.get_template("page.html").render(
        title=title,
        version=__version__,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        datasets=[part.context() for part in parts],
        problems=problems,
        style=Markup((assets / "style.css").read_text(encoding="utf-8")),
        script=Markup((assets / "page.js").read_text(encoding="utf-8")),
        # BokehJS itself, without its widgets, tables and typesetting.
        bokeh=Markup("\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)),
        # No "<" of a record may end the script element that holds the data.
        data=Markup(data.replace("<", "\\u003c")),
    )
