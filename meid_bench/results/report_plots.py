"""The report's plots: Bokeh figures that the page embeds and fills with what is chosen."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from bokeh.embed import json_item
from bokeh.models import ColumnDataSource, HoverTool
from bokeh.models.annotations import BoxAnnotation
from bokeh.plotting import figure
from bokeh.transform import dodge

from meid_bench.benchmark.longtail import GROUPS, Bins
from meid_bench.palette import SERIES
from meid_bench.results.board_text import spread_text
from meid_bench.results.record import CurvePoint
from meid_bench.results.rows import Row

OFFSETS = {"head": 0.26, "medium": 0.0, "tail": -0.26}
ROW_HEIGHT = 46
DASHES = ("solid", "dashed", "dotted", "dotdash")


@dataclass(frozen=True)
class Curve:
    """One row's learning curves: its name on the page, label, and a curve per seed."""

    name: str
    label: str
    colour: str
    dash: str
    seeds: Mapping[str, Sequence[CurvePoint]]


def bars(
    rows: Sequence[Row], labels: Sequence[str], published: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Head, medium and tail mAP of every row, with spread and the published value."""
    plot = _figure(
        height=70 + ROW_HEIGHT * len(rows),
        y_range=[plain(label) for label in reversed(labels)],
        x_axis_label="test mAP",
    )
    plot.x_range.start = 0
    plot.xaxis.ticker.desired_num_ticks = 5
    plot.ygrid.grid_line_color = None
    for group in GROUPS:
        place = dodge("row", OFFSETS[group], range=plot.y_range)
        known = [(label, row.scores[group]) for label, row in zip(labels, rows, strict=True)
                 if group in row.scores]  # fmt: skip
        source = ColumnDataSource(
            {
                "row": [plain(label) for label, _ in known],
                "mean": [spread.mean for _, spread in known],
                "text": [spread_text(spread) for _, spread in known],
                "low": [spread.mean - (spread.std or 0) for _, spread in known],
                "high": [spread.mean + (spread.std or 0) for _, spread in known],
                "group": [group] * len(known),
            }
        )
        drawn = plot.hbar(y=place, right="mean", height=0.22, source=source, line_color=None)
        drawn.glyph.tags = [f"fill_color={group}"]
        spread_line = plot.segment(
            y0=place, y1=place, x0="low", x1="high", source=source, line_width=2
        )
        spread_line.glyph.tags = ["line_color=ink"]
        plot.add_tools(HoverTool(renderers=[drawn], tooltips=[("", "@row"), ("@group", "@text")]))
        _published_marks(plot, labels, published, group, place)
    return {"bars": json_item(plot)}


def classes(bins: Bins, smallest: int, largest: int) -> dict[str, Any]:
    """AP against training videos per class, of the two chosen rows, over the shaded bins."""
    plot = _figure(
        height=380, x_axis_type="log", x_axis_label="training videos of the class",
        x_range=(max(smallest, 0.5) * 0.8, largest * 1.25), y_axis_label="AP on test",
        y_range=(-0.02, 1.02),
    )  # fmt: skip
    edges = (0.01, bins.tail_max + 0.5, bins.medium_max + 0.5, largest * 100)
    for group, left, right in zip(reversed(GROUPS), edges, edges[1:], strict=False):
        shade = BoxAnnotation(left=left, right=right, fill_alpha=0.1, line_color=None)
        shade.tags = [f"fill_color={group}"]
        plot.add_layout(shade)
    renderers = []
    for name, marker in (("a", "circle"), ("b", "triangle")):
        empty: dict[str, Any] = {key: [] for key in ("x", "ap", "name", "count", "group", "method")}
        source = ColumnDataSource(empty, name=name)
        dots = plot.scatter(
            x="x", y="ap", marker=marker, size=8, fill_alpha=0.65, line_width=0.7, source=source
        )
        dots.glyph.tags = [f"fill_color={name}", "line_color=paper"]
        renderers.append(dots)
    tips = [("", "@name"), ("@method", "@ap{0.000}"), ("training videos", "@count (@group)")]
    plot.add_tools(HoverTool(renderers=renderers, tooltips=tips))
    return {"classes": json_item(plot)}


def gain() -> dict[str, Any]:
    """A's AP minus B's, a bar per class."""
    plot = _figure(height=300, x_axis_label="classes, by gain", y_axis_label="AP of A − AP of B")
    # One bar of no height: without any the axes would have no range to begin with.
    start: dict[str, Any] = {
        "x": [0],
        "gain": [0],
        "name": [""],
        "count": [0],
        "group": [""],
        "colour": ["grey"],
    }
    source = ColumnDataSource(start, name="gain")
    drawn = plot.vbar(
        x="x", top="gain", width=0.9, fill_color="colour", line_color=None, source=source
    )
    plot.xgrid.grid_line_color = None
    tips = [("", "@name"), ("gain", "@gain{+0.000}"), ("training videos", "@count (@group)")]
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
    return {"gain": json_item(plot)}


def curves(rows: Sequence[Curve]) -> dict[str, Any]:
    """Overall mAP on val after each epoch, a line per run."""
    plot = _figure(height=380, x_axis_label="epoch, all stages", y_axis_label="val mAP")
    renderers = []
    for row in rows:
        for run, points in row.seeds.items():
            overall = [point.val.get("overall") for point in points]
            source = ColumnDataSource(
                {
                    "epoch": list(range(1, len(points) + 1)),
                    "map": [nan if value is None else value for value in overall],
                }
            )
            line = plot.line(
                x="epoch", y="map", source=source, color=row.colour, line_dash=row.dash,
                line_width=1.8, name=plain(run),
            )  # fmt: skip
            line.tags = [row.name]
            renderers.append(line)
    tips = [("", "$name"), ("epoch", "@epoch"), ("mAP", "@map{0.000}")]
    plot.add_tools(HoverTool(renderers=renderers, tooltips=tips))
    return {"curves": json_item(plot)}


def curve_style(position: int) -> tuple[str, str]:
    """Colour and dash of the row at a position: all differ up to 28 rows."""
    return SERIES[position % len(SERIES)], DASHES[position // len(SERIES) % len(DASHES)]


def plain(text: str) -> str:
    """Text that Bokeh takes for text: it would fetch a typesetter for what stands in $$."""
    return re.sub(r"\$\$|\\\(|\\\[", "$ ", text)


def _published_marks(
    plot: Any,
    labels: Sequence[str],
    published: Mapping[str, Mapping[str, float]],
    group: str,
    place: Any,
) -> None:
    known = [label for label in labels if label in published]
    if not known:
        return
    source = ColumnDataSource(
        {
            "row": [plain(label) for label in known],
            "value": [published[label][group] for label in known],
            "group": [f"published, {group}"] * len(known),
        }
    )
    marks = plot.scatter(
        x="value", y=place, marker="diamond", size=13, fill_alpha=0, line_width=2, source=source
    )
    marks.glyph.tags = ["line_color=ink"]
    plot.add_tools(
        HoverTool(renderers=[marks], tooltips=[("", "@row"), ("@group", "@value{0.000}")])
    )


def _figure(**options: Any) -> Any:
    plot = figure(sizing_mode="stretch_width", toolbar_location=None, tools="", **options)
    plot.background_fill_alpha = 0
    plot.border_fill_alpha = 0
    plot.axis.major_label_text_font_size = "13px"
    plot.axis.axis_label_text_font_size = "14px"
    plot.axis.axis_label_text_font_style = "normal"
    return plot
