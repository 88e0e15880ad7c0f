"""Paired bootstrap of mean average precisions over clusters of videos; pure."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from meid_bench.cores import cores
from meid_bench.results.metrics import average_precision, group_means

# Numbers in one block of a matrix product: large enough for BLAS, small enough for any memory.
BLOCK = 1 << 23
# APs that are held at a time: 512 MB at most.
HELD = 1 << 26
# Resamples that a thread works on at a time.
ROWS = 256


@dataclass(frozen=True)
class Resampled:
    """Mean average precisions of several methods under the same resamples of the videos.

    Attributes:
        measures: "overall", "head", "medium", "tail".
        runs: Method to its measures on the full data, (S, M), a row per seed.
        means: Method to its measures in each resample, (R, M), means over the same seeds; NaN
            where a resample left no class of a group a positive.
        clusters: G, how many clusters were resampled.
    """

    measures: tuple[str, ...]
    runs: Mapping[str, NDArray[np.float64]]
    means: Mapping[str, NDArray[np.float64]]
    clusters: int


def resample(
    scores: Mapping[str, Sequence[NDArray[Any]]],
    labels: NDArray[Any],
    clusters: NDArray[np.int64],
    groups: Mapping[str, NDArray[np.int64]],
    resamples: int = 2_000,
    seed: int = 0,
) -> Resampled:
    """Resample clusters of videos, the same for all methods.

    Args:
        scores: Method to its scores (N, C) in [0, 1], one array per seed.
        labels: 0 or 1, (N, C).
        clusters: The cluster of each video, (N,), numbered from 0 without gaps.
        groups: "head", "medium" and "tail" to class indices.
        resamples: R.
        seed: Of the resampling.

    Raises:
        ValueError: As `average_precision`.
    """
    number = int(clusters.max()) + 1
    weights = draw_weights(number, resamples, seed)
    runs, means = {}, {}
    for name, of_seeds in scores.items():
        runs[name] = np.stack([measures_of(each, labels, groups) for each in of_seeds])
        drawn = [resampled_means(each, labels, clusters, groups, weights) for each in of_seeds]
        means[name] = np.mean(drawn, axis=0)
    return Resampled(("overall", *groups), runs, means, number)


def measures_of(
    scores: NDArray[Any], labels: NDArray[Any], groups: Mapping[str, NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Overall mAP and that of each group on the full data, (M,)."""
    return np.array(list(group_means(average_precision(scores, labels), groups).values()))


def resampled_means(
    scores: NDArray[Any],
    labels: NDArray[Any],
    clusters: NDArray[np.int64],
    groups: Mapping[str, NDArray[np.int64]],
    weights: NDArray[np.float32],
) -> NDArray[np.float64]:
    """The same under each resample, (R, M), from weights (R, G) of the clusters."""
    member = np.zeros((labels.shape[1], 1 + len(groups)), dtype=bool)
    member[:, 0] = True
    for column, index in enumerate(groups.values(), start=1):
        member[index, column] = True
    size = max(1, HELD // labels.shape[1])
    parts = [weights[start : start + size] for start in range(0, len(weights), size)]
    return np.concatenate(
        [_masked_means(weighted_ap(scores, labels, clusters, part), member) for part in parts]
    )


def draw_weights(clusters: int, resamples: int, seed: int = 0) -> NDArray[np.float32]:
    """How often each cluster is drawn, (resamples, clusters) float32; each row sums to clusters.

    As many clusters as there are are drawn with replacement. The first rows are the same however
    many there are.
    """
    rng = np.random.default_rng(seed)
    weights = np.empty((resamples, clusters), dtype=np.float32)
    for row in weights:
        row[:] = np.bincount(rng.integers(0, clusters, clusters), minlength=clusters)
    return weights


def dropped_classes(
    labels: NDArray[Any],
    clusters: NDArray[np.int64],
    groups: Mapping[str, NDArray[np.int64]],
    weights: NDArray[np.float32],
) -> dict[str, float]:
    """Measure to the mean number of classes with positives that a resample leaves without any."""
    positives = np.zeros((weights.shape[1], labels.shape[1]), dtype=np.float32)
    np.add.at(positives, clusters, labels)
    known = positives.any(axis=0)
    missing = ((weights @ positives == 0) & known).mean(axis=0)
    members = {"overall": np.arange(labels.shape[1]), **groups}
    return {name: float(missing[index].sum()) for name, index in members.items()}


def weighted_ap(
    scores: NDArray[Any],
    labels: NDArray[Any],
    clusters: NDArray[np.int64],
    weights: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Average precision of every class when each video counts as often as its cluster.

    A class's weighted AP needs, for each positive, only the weights of videos and of positives
    that score at least as much. These are sums of cluster weights, so that all resamples are one
    matrix product of (resamples, clusters) with counts (clusters, positives).

    Args:
        scores: (N, C).
        labels: 0 or 1, (N, C).
        clusters: (N,), numbered from 0 without gaps.
        weights: Whole numbers, (R, G).

    Returns:
        (R, C); NaN where the positives of a class weigh nothing.
    """
    result = np.full((len(weights), labels.shape[1]), np.nan)
    positive = labels != 0
    rows = [slice(start, start + ROWS) for start in range(0, len(weights), ROWS)]
    # Our threads share the cores already: BLAS's own would wait for each other.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as pool:
        for classes in _class_blocks(positive, weights.shape[1]):
            counts = _counts(scores, positive, classes, clusters)
            cluster = np.concatenate([clusters[positive[:, c]] for c in classes])
            first = np.cumsum([0, *positive[:, classes].sum(axis=0)[:-1]])
            block_ap = partial(_block_ap, counts, cluster, first)
            for part, ap in zip(rows, pool.map(block_ap, [weights[r] for r in rows]), strict=True):
                result[part, classes] = ap
    return result


def _block_ap(
    counts: tuple[NDArray[np.float32], NDArray[np.float32]],
    cluster: NDArray[np.int64],
    first: NDArray[np.int64],
    weights: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Weighted AP of some classes, (R, classes).

    Args:
        counts: As `_counts` gives them.
        cluster: Of the classes' positives, (P,).
        first: Where each class's positives begin among them.
        weights: (R, G).
    """
    retrieved, correct = counts
    own = weights[:, cluster]
    total = np.add.reduceat(own, first, axis=1)  # whole numbers: exact in float32
    # Where a positive weighs nothing its precision does not count: avoid 0 / 0.
    precision = (weights @ correct) / np.maximum(weights @ retrieved, 1)
    gained = np.add.reduceat(own * precision, first, axis=1, dtype=np.float64)
    ap: NDArray[np.float64] = np.full(total.shape, np.nan)
    return np.divide(gained, total, out=ap, where=total > 0)


def _counts(
    scores: NDArray[Any],
    positive: NDArray[np.bool_],
    classes: NDArray[np.int64],
    clusters: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Per cluster and positive: videos, and positives, that score at least as much; (G, P)."""
    number = int(clusters.max()) + 1
    retrieved: list[NDArray[np.float32]] = []
    correct: list[NDArray[np.float32]] = []
    for c in classes:
        mask = positive[:, c]
        hits = scores[mask, c]
        order = np.argsort(hits)
        # A video scores at least as much as the first `place` of the sorted positives.
        place = np.searchsorted(hits[order], scores[:, c], side="right")
        for counts, which in ((retrieved, slice(None)), (correct, mask)):
            cells = clusters[which] * (len(hits) + 1) + place[which]
            histogram = np.bincount(cells, minlength=number * (len(hits) + 1))
            by_cluster = histogram.reshape(number, len(hits) + 1)[:, :0:-1]
            in_order = np.empty((number, len(hits)), dtype=np.float32)
            in_order[:, order[::-1]] = by_cluster.cumsum(axis=1)
            counts.append(in_order)
    return np.concatenate(retrieved, axis=1), np.concatenate(correct, axis=1)


def _class_blocks(positive: NDArray[np.bool_], clusters: int) -> Iterator[NDArray[np.int64]]:
    """Classes with positives, in runs whose counts fill about one block."""
    numbers = positive.sum(axis=0)
    classes = np.flatnonzero(numbers)
    if len(classes):
        limit = max(1, min(BLOCK // clusters, 4096))
        yield from np.split(
            classes, np.flatnonzero(np.diff(np.cumsum(numbers[classes]) // limit)) + 1
        )


def _masked_means(ap: NDArray[np.float64], member: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Means over the classes of each measure that are not NaN, (R, C) -> (R, M)."""
    defined = ~np.isnan(ap)
    number = defined.astype(np.float64) @ member
    means = np.full_like(number, np.nan)
    np.divide(np.where(defined, ap, 0) @ member, number, out=means, where=number > 0)
    return means
