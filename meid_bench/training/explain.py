"""Explain: the frame weights that a method gives, over a whole split."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.distributed import gathered, own, shares
from meid_bench.errors import DataError
from meid_bench.methods.method import Method
from meid_bench.training.attention import inside_intervals
from meid_bench.training.data import Examples, in_parts


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
    index = np.arange(len(examples))[own(len(examples))]
    found = [torch.empty(0, len(names), frames, device=examples.device)]
    for features, _ in examples.batches(index, in_parts(len(index), batch)):
        parts = method.explain(features)
        found.append(torch.stack([parts[name].float() for name in names], dim=1))
    everyone = gathered(torch.cat(found), shares(len(examples))).cpu().numpy()
    return {name: everyone[:, position] for position, name in enumerate(names)}


def attention_diagnostics(
    method: Method,
    examples: Examples,
    benchmark: Benchmark,
    times: Callable[[str], NDArray[Any]],
    batch: int,
) -> dict[str, float]:
    """How much of each frame weight falls inside annotated intervals, for the record.

    Args:
        method: Trained; only one that overrides `explain` has frame weights.
        examples: Of the test split.
        benchmark: Whose intervals.
        times: Video id to the times of its frames, (T,) seconds.
        batch: Videos a forward pass.

    Returns:
        As `attention.inside_intervals`; empty without frame weights, intervals or times.
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
