"""A picture of the long tail: videos per class, sorted, with the bins shaded."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from meid_bench.benchmark.benchmark import SPLITS, Benchmark
from meid_bench.benchmark.longtail import GROUPS
from meid_bench.errors import SettingError
from meid_bench.files import atomic
from meid_bench.palette import GROUP_COLOURS, SPLIT_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_classes(benchmark: Benchmark, path: Path) -> None:
    """Draw videos per class in train, val and test; classes by their count in train.

    Args:
        benchmark: What to draw.
        path: Where to; the suffix says in which format, for example .png.

    Raises:
        SettingError: No picture can be written in that format.
    """
    # Figure, unlike pyplot, opens no window and keeps no global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    formats = figure.canvas.get_supported_filetypes()
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in formats:
        raise SettingError(
            f"Cannot draw into {path.name!r}; its name must end in .png or another of: "
            + ", ".join(sorted(formats))
        )
    _draw(figure.subplots(), benchmark)
    with atomic(path) as temporary:
        figure.savefig(temporary, format=suffix, dpi=150)


def _draw(axes: "Axes", benchmark: Benchmark) -> None:
    order = np.argsort(-benchmark.counts, kind="stable")
    ranks = np.arange(len(order))
    start = 0
    for group in GROUPS:
        size = len(benchmark.groups[group])
        axes.axvspan(
            start - 0.5, start + size - 0.5, color=GROUP_COLOURS[group], alpha=0.08, zorder=0
        )
        if size:
            axes.annotate(
                f"{group} ({size})",
                (start + (size - 1) / 2, 0.97),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="top",
                color="#555555",
            )
        start += size
    for split in SPLITS:
        counts = benchmark.counts_in(split)[order]
        axes.plot(
            ranks,
            counts,
            drawstyle="steps-mid",
            color=SPLIT_COLOURS[split],
            linewidth=1.8 if split == "train" else 0.8,
            label=f"{split} ({len(benchmark.splits[split]):,} videos)",
        )
    # Classes without a video in val or test are on the axis, not out of the picture.
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=0)
    axes.set_xlim(-0.5, len(order) - 0.5)
    axes.set_xlabel("classes, by videos in train")
    axes.set_ylabel("videos")
    axes.set_title(benchmark.title)
    axes.legend(loc="lower left")
