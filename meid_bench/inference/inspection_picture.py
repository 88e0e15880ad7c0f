"""InspectionPicture: an inspection as one PNG."""

import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Patch

from meid_bench.files import atomic
from meid_bench.inference.inspection import Inspection
from meid_bench.number_text import score_text
from meid_bench.palette import GROUP_COLOURS

LINES = ("#1b1b1b", "#cc3377", "#7755bb", "#777777")
TOP = 6
THUMBNAIL = 160  # pixels, width


def save_picture(inspection: Inspection, path: Path) -> None:
    """Draw and write the PNG, whole or not at all."""
    with warnings.catch_warnings():
        # A class name may hold a sign that the font lacks: it is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = draw(inspection)
        with atomic(path) as temporary, temporary.open("wb") as file:
            figure.savefig(file, format="png", dpi=110)


def draw(inspection: Inspection) -> Figure:
    """The figure: frames, weights, intervals on one time axis; predictions below."""
    labels = inspection.video.labels
    heights = [1.1 if inspection.frames else 0.01, 1.7, 0.35 + 0.26 * max(1, len(labels)), 2.4]
    figure = Figure(figsize=(11, sum(heights) + 1.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(inspection.title, fontsize=11, parse_math=False)
    grid = GridSpec(4, len(inspection.scores), figure=figure, height_ratios=heights)
    curves = figure.add_subplot(grid[1, :])
    strip = figure.add_subplot(grid[0, :], sharex=curves)
    bars = figure.add_subplot(grid[2, :], sharex=curves)
    _draw_weights(curves, inspection)
    _draw_frames(strip, inspection)
    _draw_intervals(bars, inspection)
    bins = [Patch(color=colour, label=group) for group, colour in GROUP_COLOURS.items()]
    figure.legend(handles=bins, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    for column, name in enumerate(inspection.scores):
        _draw_predictions(figure.add_subplot(grid[3, column]), inspection, name)
    return figure


def span(inspection: Inspection) -> tuple[float, float]:
    """Beginning and end of the time axis."""
    times = inspection.times
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    end = float(times[-1]) + max(step, 1e-3)
    if inspection.in_seconds:
        end = max(end, inspection.video.length or 0.0)
    return min(0.0, float(times[0])), end


def _draw_frames(axes: Any, inspection: Inspection) -> None:
    start, end = span(inspection)
    axes.set_axis_off()
    if not inspection.frames:
        return
    width = (end - start) / len(inspection.frames)
    for position, (_, frame) in enumerate(inspection.frames):
        small = frame[
            :: max(1, frame.shape[1] // THUMBNAIL), :: max(1, frame.shape[1] // THUMBNAIL)
        ]
        left = start + position * width
        axes.imshow(small, extent=(left + 0.02 * width, left + 0.98 * width, 0, 1), aspect="auto")
    axes.set_xlim(start, end)
    axes.set_ylim(0, 1)


def _draw_weights(axes: Any, inspection: Inspection) -> None:
    axes.axhline(1, color="#aaaaaa", linewidth=0.8, linestyle=":")
    for (name, values), colour in zip(inspection.weights.items(), LINES, strict=False):
        axes.plot(inspection.times, values, color=colour, linewidth=1.4, label=name)
    axes.set_xlim(*span(inspection))
    largest = max((float(values.max()) for values in inspection.weights.values()), default=1.0)
    axes.set_ylim(0, max(2.0, 1.15 * largest))
    axes.set_ylabel("weight\n(1 = uniform)")
    axes.tick_params(labelbottom=False)
    if inspection.weights:
        axes.legend(loc="upper right", ncols=4, fontsize=9, frameon=False)
    else:
        axes.text(0.5, 0.5, "this method weighs no frames", transform=axes.transAxes, ha="center")


def _draw_intervals(axes: Any, inspection: Inspection) -> None:
    labels = sorted(inspection.video.labels, key=lambda c: (_order(inspection, c), c))
    for row, label in enumerate(labels):
        spans = [
            (interval.start, interval.end - interval.start)
            for interval in inspection.video.intervals
            if interval.label == label and inspection.in_seconds
        ]
        axes.broken_barh(spans, (row - 0.36, 0.72), color=GROUP_COLOURS[inspection.group[label]])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)))
    names = axes.set_yticklabels([_short(inspection.classes[c], 34) for c in labels], fontsize=9)
    for text, label in zip(names, labels, strict=True):
        text.set_parse_math(False)
        text.set_color(GROUP_COLOURS[inspection.group[label]])
    axes.set_xlabel("seconds" if inspection.in_seconds else "frame (when is not known)")
    axes.set_xlim(*span(inspection))


def _draw_predictions(axes: Any, inspection: Inspection, name: str) -> None:
    scores = inspection.scores[name]
    best = np.argsort(-scores, kind="stable")[:TOP]
    colours = [GROUP_COLOURS[inspection.group[c]] for c in best]
    axes.barh(range(len(best)), scores[best], color=colours, height=0.7, alpha=0.45)
    axes.set_yticks([])
    axes.set_ylim(len(best) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_title(name, fontsize=10, parse_math=False)
    true = set(inspection.video.labels)
    for row, label in enumerate(best):
        mark = "✓ " if label in true else ""
        text = f"{mark}{_short(inspection.classes[label], 30)}  {score_text(scores[label], 2)}"
        axes.text(
            0.02, row, text, va="center", fontsize=9, parse_math=False,
            weight="bold" if label in true else "normal",
        )  # fmt: skip


def _order(inspection: Inspection, label: int) -> int:
    return list(GROUP_COLOURS).index(inspection.group[label])


def _short(name: str, width: int) -> str:
    return textwrap.shorten(name, width, placeholder="…") or name[:width]
