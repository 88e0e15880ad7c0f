"""Attention: how much of a frame weight falls inside the annotated intervals; pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.annotation import Annotation

UNIFORM = "uniform"


def inside_intervals(
    weights: Mapping[str, NDArray[Any]],
    times: NDArray[Any],
    videos: Sequence[Annotation],
    groups: Mapping[str, NDArray[np.int64]],
) -> dict[str, float]:
    """The share of each frame weight inside the intervals of a video's classes, by bin.

    For a video and a class annotated in it, the share is the weight of the frames within any of
    the class's intervals over the weight of all frames. Equal weights for all frames ("uniform")
    say what a method that looks nowhere in particular would have: the share of time.

    Args:
        weights: Name to (N, T), not negative; any scale.
        times: When each frame is, (N, T), seconds; NaN where nobody knows.
        videos: N, with the intervals.
        groups: "head", "medium" and "tail" to class indices.

    Returns:
        "inside_<name>_<overall, head, medium or tail>" to the mean over pairs of a video and a
        class, in [0, 1]; empty where no video has both times and intervals.
    """
    named = {**weights, UNIFORM: np.ones(times.shape)}
    member = {int(c): group for group, index in groups.items() for c in index}
    shares: dict[tuple[str, str], list[float]] = {}
    for row, video in enumerate(videos):
        if np.isnan(times[row]).any():
            continue
        for label in sorted({interval.label for interval in video.intervals}):
            inside = frames_inside(times[row], video, label)
            for name, values in named.items():
                total = float(values[row].sum())
                share = float(values[row][inside].sum()) / total if total > 0 else 0.0
                for group in ("overall", member[label]):
                    shares.setdefault((name, group), []).append(share)
    return {
        f"inside_{name}_{group}": float(np.mean(shares[name, group]))
        for name in named
        for group in ("overall", *groups)
        if (name, group) in shares
    }


def frames_inside(times: NDArray[Any], video: Annotation, label: int) -> NDArray[np.bool_]:
    """Which frames, (T,), are within an interval of a class; the ends belong to it."""
    inside = np.zeros(len(times), dtype=bool)
    for interval in video.intervals:
        if interval.label == label:
            inside |= (times >= interval.start) & (times <= interval.end)
    return inside
