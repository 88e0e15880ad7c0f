"""Paired bootstrap of mean average precisions over clusters of videos, and over seeds; pure."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from meid_bench.cores import cores
from meid_bench.metrics import average_precision, group_means

# Numbers in one block of a matrix product: large enough for BLAS, small enough for any memory.
BLOCK = 1 << 23
# Weights of all clusters, or APs of all scores, that are held at a time: 512 MB at most.
HELD = 1 << 26
# Resamples that a thread works on at a time.
ROWS = 256
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference on the full data, its interval, and the p-value of "no difference"."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Resampled:
    """Mean average precisions of several methods under the same resamples of the videos.

    Attributes:
        measures: "overall", "head", "medium", "tail".
        full: Method to its measures on the full data, (M,), means over its seeds.
        means: Method to its measures in each resample, (R, M), videos and seeds resampled; NaN
            where a resample left no class of a group a positive.
        dropped: Measure to the mean number of classes that a resample left without positives.
    """

    measures: tuple[str, ...]
    full: Mapping[str, NDArray[np.float64]]
    means: Mapping[str, NDArray[np.float64]]
    dropped: Mapping[str, float]


def resample(
    scores: Mapping[str, Sequence[NDArray[Any]]],
    labels: NDArray[Any],
    clusters: NDArray[np.int64],
    groups: Mapping[str, NDArray[np.int64]],
    resamples: int = 10_000,
    seed: int = 0,
) -> Resampled:
    """Resample clusters of videos, the same for all methods, and each method's seeds.

    As many clusters as there are are drawn with replacement; a video then weighs as often as its
    cluster was drawn. A class's weighted AP needs, for each positive, only the weights of videos
    and of positives that score at least as much. These are sums of cluster weights, so that all
    resamples are one matrix product of (resamples, clusters) with counts (clusters, positives).

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
    measures = ("overall", *groups)
    member = np.zeros((labels.shape[1], len(measures)), dtype=bool)
    member[:, 0] = True
    for column, index in enumerate(groups.values(), start=1):
        member[index, column] = True
    full = {
        name: np.mean([_full(each, labels, groups) for each in of_seeds], axis=0)
        for name, of_seeds in scores.items()
    }
    stacked = [each for of_seeds in scores.values() for each in of_seeds]
    number = int(clusters.max()) + 1
    rng = np.random.default_rng(seed)
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in scores}
    missing = np.zeros(len(measures))
    for size in _sizes(resamples, HELD // max(number, len(stacked) * labels.shape[1])):
        ap = weighted_ap(stacked, labels, clusters, draw_weights(number, size, rng))
        values = iter([_masked_means(each, member) for each in ap])
        for name, of_seeds in scores.items():
            own = np.stack([next(values) for _ in of_seeds])
            draws = rng.integers(0, len(own), size=(len(own), size, 1))
            parts[name].append(np.take_along_axis(own, draws, axis=0).mean(axis=0))
        missing += np.isnan(ap[0]).astype(np.float64).sum(axis=0) @ member
    return Resampled(
        measures=measures,
        full=full,
        means={name: np.concatenate(of_method) for name, of_method in parts.items()},
        dropped=dict(zip(measures, (missing / resamples).tolist(), strict=True)),
    )


def intervals(resampled: Resampled, first: str, second: str) -> dict[str, Interval]:
    """Each measure's difference `first` - `second` with its basic bootstrap interval.

    The basic form reflects the resampled differences at the full-data difference d: with their
    quantiles q, the interval is [2d - q(97.5 %), 2d - q(2.5 %)]. It is centred where the data are
    and takes out the bias that repeated videos give to AP. p is the smallest level at which the
    interval leaves out zero, never below 2 / (R + 1).

    Reference: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 5.2;
        resampling whole clusters: Field and Welsh, Bootstrapping clustered data (JRSS B, 2007).
    """
    result = {}
    for column, measure in enumerate(resampled.measures):
        difference = resampled.full[first][column] - resampled.full[second][column]
        drawn = resampled.means[first][:, column] - resampled.means[second][:, column]
        interval = basic_interval(float(difference), drawn)
        if interval is not None:
            result[measure] = interval
    return result


def basic_interval(difference: float, drawn: NDArray[np.float64]) -> Interval | None:
    """The interval of `intervals` from a difference and its resampled values (R,).

    NaN values are left out; None where none is left, or the difference itself is NaN.
    """
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn) or np.isnan(difference):
        return None
    tail = (1 - CONFIDENCE) / 2
    upper, lower = np.quantile(drawn, [1 - tail, tail])
    above = (drawn >= 2 * difference).sum() + 1
    below = (drawn <= 2 * difference).sum() + 1
    p = min(1.0, 2 * min(above, below) / (len(drawn) + 1))
    return Interval(difference, float(2 * difference - upper), float(2 * difference - lower), p)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: rejecting those below a level keeps the family's error at that level.

    Reference: Holm, A simple sequentially rejective multiple test procedure (1979).

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = highest
    return adjusted


def draw_weights(clusters: int, resamples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """How often each cluster is drawn, (resamples, clusters) float32; each row sums to clusters."""
    drawn = rng.integers(0, clusters, size=(resamples, clusters))
    drawn += np.arange(resamples)[:, None] * clusters
    counts = np.bincount(drawn.ravel(), minlength=resamples * clusters)
    return counts.reshape(resamples, clusters).astype(np.float32)


def weighted_ap(
    scores: Sequence[NDArray[Any]],
    labels: NDArray[Any],
    clusters: NDArray[np.int64],
    weights: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Average precision of every class when each video counts as often as its cluster.

    Args:
        scores: K times (N, C).
        labels: 0 or 1, (N, C).
        clusters: (N,), numbered from 0 without gaps.
        weights: Whole numbers, (R, G).

    Returns:
        (K, R, C); NaN where the positives of a class weigh nothing.
    """
    result = np.full((len(scores), len(weights), labels.shape[1]), np.nan)
    if weights.shape[1] == len(clusters):  # each video alone: in the order of the weights
        order = np.argsort(clusters)
        scores, labels = [each[order] for each in scores], labels[order]
        clusters = np.arange(len(order))
    positive = labels != 0
    rows = [slice(start, start + ROWS) for start in range(0, len(weights), ROWS)]
    # Our threads share the cores already: BLAS's own would wait for each other.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as pool:
        for classes in _class_blocks(positive, weights.shape[1]):
            block = _ClassBlock(
                counts=[_counts(each, positive, classes, clusters) for each in scores],
                cluster=np.concatenate([clusters[positive[:, c]] for c in classes]),
                first=np.cumsum([0, *positive[:, classes].sum(axis=0)[:-1]]),
            )
            for part, ap in zip(rows, pool.map(block.ap, [weights[r] for r in rows]), strict=True):
                result[:, part, classes] = ap
    return result


@dataclass(frozen=True)
class _ClassBlock:
    """Some classes' positives, P together: their clusters, and where each class's begin."""

    counts: list[tuple[NDArray[np.float32], NDArray[np.float32]]]
    cluster: NDArray[np.int64]
    first: NDArray[np.int64]

    def ap(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Weighted AP of these classes, (K, R, classes)."""
        own = weights[:, self.cluster]
        total = np.add.reduceat(own, self.first, axis=1)  # whole numbers: exact in float32
        result = np.full((len(self.counts), *total.shape), np.nan)
        for ap, (retrieved, correct) in zip(result, self.counts, strict=True):
            # Where a positive weighs nothing its precision does not count: avoid 0 / 0.
            precision = (weights @ correct) / np.maximum(weights @ retrieved, 1)
            gained = np.add.reduceat(own * precision, self.first, axis=1, dtype=np.float64)
            np.divide(gained, total, out=ap, where=total > 0)
        return result


def _counts(
    scores: NDArray[Any],
    positive: NDArray[np.bool_],
    classes: NDArray[np.int64],
    clusters: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Per cluster and positive: videos, and positives, that score at least as much; (G, P)."""
    number = int(clusters.max()) + 1
    retrieved, correct = [], []
    for c in classes:
        mask = positive[:, c]
        hits = scores[mask, c]
        if number == len(clusters):
            at_least = scores[:, c, None] >= hits
            retrieved.append(at_least.astype(np.float32))
            correct.append((at_least & mask[:, None]).astype(np.float32))
            continue
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


def _full(
    scores: NDArray[Any], labels: NDArray[Any], groups: Mapping[str, NDArray[np.int64]]
) -> NDArray[np.float64]:
    return np.array(list(group_means(average_precision(scores, labels), groups).values()))


def _masked_means(ap: NDArray[np.float64], member: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Means over the classes of each measure that are not NaN, (R, C) -> (R, M)."""
    defined = ~np.isnan(ap)
    number = defined.astype(np.float64) @ member
    means = np.full_like(number, np.nan)
    np.divide(np.where(defined, ap, 0) @ member, number, out=means, where=number > 0)
    return means


def _sizes(total: int, size: int) -> list[int]:
    size = max(1, size)
    return [min(size, total - done) for done in range(0, total, size)]
