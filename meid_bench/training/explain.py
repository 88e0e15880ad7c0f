"""Explain: a method's frame weights over a split, and their share inside annotated intervals."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.distributed import gathered, own_slice, slice_sizes
from meid_bench.errors import DataError
from meid_bench.methods.method import Method
from meid_bench.methods.samplers import batches
from meid_bench.training.data import Examples

UNIFORM = "uniform"


def frame_weights(parts: Mapping[str, Tensor], frames: int) -> dict[str, Tensor]:
    """Those of `Method.explain`'s tensors that weigh frames: (B, T) and never negative."""
    return {
        name: value.float()
        for name, value in parts.items()
        if value.ndim == 2 and value.shape[1] == frames and not bool((value < 0).any())
    }


@torch.no_grad()
def explain_split(method: Method, examples: Examples, batch: int) -> dict[str, NDArray[np.float32]]:
    """Every frame weight of every video, name to (N, T); the same on every rank."""
    method.eval()
    # Several videos: the logits of one might all be positive, and look like weights.
    first, _ = examples.some(np.arange(min(16, len(examples))))
    frames = first.shape[1]
    names = sorted(frame_weights(method.explain(first), frames))
    if not names:
        return {}
    index = np.arange(len(examples))[own_slice(len(examples))]
    found = [torch.empty(0, len(names), frames, device=examples.device)]
    for features, _ in examples.batches(index, batches(len(index), batch)):
        parts = method.explain(features)
        found.append(torch.stack([parts[name].float() for name in names], dim=1))
    everyone = gathered(torch.cat(found), slice_sizes(len(examples))).cpu().numpy()
    return {name: everyone[:, position] for position, name in enumerate(names)}


def attention_diagnostics(
    method: Method,
    examples: Examples,
    benchmark: Benchmark,
    times: Callable[[str], NDArray[Any]],
    batch: int,
) -> dict[str, float]:
    """`inside_intervals` of a trained method on the test split; empty without weights or times.

    Args:
        method: Only one that overrides `explain` has frame weights.
        examples: Of the test split.
        benchmark: Whose intervals.
        times: Video id to the times of its frames, (T,) seconds.
        batch: Videos a forward pass.
    """
    known = {video.id: video for video in benchmark.splits["test"]}
    videos = [known[video] for video in examples.ids]
    if type(method).explain is Method.explain or not any(video.intervals for video in videos):
        return {}
    try:
        when = np.stack([times(video) for video in examples.ids])
    except DataError:
        return {}  # features that came without times
    weights = explain_split(method, examples, batch)
    return inside_intervals(weights, when, videos, benchmark.groups) if weights else {}


def inside_intervals(
    weights: Mapping[str, NDArray[Any]],
    times: NDArray[Any],
    videos: Sequence[Annotation],
    groups: Mapping[str, NDArray[np.int64]],
) -> dict[str, float]:
    """The share of each frame weight inside the intervals of a video's classes, by bin.

    For a video and a class annotated in it, the share is the weight of the frames within any of
    the class's intervals over the weight of all frames. "uniform", equal weights for all frames, is
    the share of time.

    Args:
        weights: Name to (N, T), not negative; any scale.
        times: When each frame is, (N, T), seconds; NaN where unknown.
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
