"""Average precision, its means over head, medium and tail, and Acc@k; pure numpy, no files."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.longtail import GROUPS
from meid_bench.cores import cores

MEASURES = ("overall", *GROUPS)
ACCURACIES = {"acc1": 1, "acc5": 5}
# Version of what is below, named in every record: raised where a number could change.
EVALUATOR = 1
NUMBERS = (*MEASURES, *ACCURACIES)  # what a row of the board shows

# Below this many scores one thread is done before others have started.
SERIAL_SIZE = 1 << 20
# Classes copied together, and videos: both sides of a copied tile fit into a core's cache.
BLOCK, TILE = 64, 256


@dataclass(frozen=True, slots=True)
class Metrics:
    """Mean average precisions and accuracies of one set of scores, each in [0, 1].

    Attributes:
        overall: Mean AP over every class with a positive.
        head, medium, tail: Means over the group; None where none of its classes has a positive.
        acc1, acc5: Mean of `hits` over the videos with a label; None with fewer than k classes.
        classes_without_positives: Classes whose AP is not defined; they are in no mean.
        per_class_ap: AP of each class, None where it is not defined.
        views: Per view of the videos ("first", "third" person), the same numbers over that view
            alone; empty where the videos have no views.
    """

    overall: float
    head: float | None
    medium: float | None
    tail: float | None
    acc1: float | None
    acc5: float | None
    classes_without_positives: int
    per_class_ap: tuple[float | None, ...]
    views: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


def average_precision(scores: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    r"""Average precision of every class, exact.

    AP = \sum_k (R_k - R_{k-1}) P_k over the distinct scores in descending order: equal scores are
    one threshold, so that the order of the videos cannot matter. It is the mean over positives of
    the precision at their scores, and that needs two counts: scores and positives that are at
    least as large. Each class's scores are sorted as plain values, and its positives looked up.

    Args:
        scores: Probabilities in [0, 1], (N, C), any float type.
        labels: 0 or 1, (N, C).

    Returns:
        (C,) float64; NaN for a class without positives.

    Raises:
        ValueError: Shapes that differ, a score that is no probability, a label that is not 0 or 1.

    Reference: scikit-learn, `sklearn.metrics.average_precision_score` (the rule for ties).

    Example:
        >>> average_precision(np.array([[0.9], [0.5], [0.5]]), np.array([[0], [1], [0]]))
        array([0.33333333])
    """
    _check(scores, labels)
    num_classes = scores.shape[1]
    # numpy sorts float16 by slow comparisons; float32 holds its values exactly.
    dtype = np.float32 if scores.dtype == np.float16 else scores.dtype
    positive = _positives(scores, labels, dtype)
    result = np.full(num_classes, np.nan)

    def work(start: int) -> None:
        columns = _transposed(scores[:, start : start + BLOCK], dtype)
        for number, column in enumerate(columns, start):
            result[number] = _one_class(column, positive[number])

    starts = range(0, num_classes, BLOCK)
    if scores.size < SERIAL_SIZE:
        for start in starts:
            work(start)
    else:  # sorting and searching release the interpreter's lock
        with ThreadPoolExecutor(min(len(starts), cores())) as pool:
            list(pool.map(work, starts))
    return result


def hits(scores: NDArray[Any], labels: NDArray[Any], k: int) -> NDArray[np.float64]:
    """Whether a true label of each video is among its k highest scores: Acc@k is the mean.

    Where scores are equal at the edge of the k highest, as saturated probabilities are, the value
    is the probability that a fair draw among them takes a true label. So the order of classes and
    of videos cannot matter, and a constant score is worth what a random ranking is.

    With t the k-th highest score, a < k scores above it, m equal to it, p of these true labels:
    1 where a true label is above t; otherwise 1 - C(m - p, k - a) / C(m, k - a).

    Args:
        scores: Probabilities in [0, 1], (N, C), any float type.
        labels: 0 or 1, (N, C).
        k: At least 1.

    Returns:
        (N,) float64 in [0, 1]; NaN for a video without labels, and for all where C < k.

    Raises:
        ValueError: As `average_precision`.

    Reference: VideoLT, ops/utils.py `accuracy` (17Skye17/VideoLT at 1732d5c, percent there; the
        same file in MEID's code): equal to it, over 100, where no scores are equal at the edge.
    Differs: ties, which that code leaves to torch.topk; a video without labels, a miss there.

    Example:
        >>> hits(np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([[1, 0], [0, 1]]), 1)
        array([1. , 0.5])
    """
    _check(scores, labels)
    result = np.full(len(scores), np.nan)
    if scores.shape[1] < k:
        return result
    rows = max(1, SERIAL_SIZE // scores.shape[1])
    for start in range(0, len(scores), rows):
        part = slice(start, start + rows)
        result[part] = _hits_of(scores[part], labels[part] != 0, k)
    return result


def group_means(
    ap: NDArray[np.float64], groups: Mapping[str, NDArray[np.int64]]
) -> dict[str, float]:
    """Means of AP over all classes and over each group, without the NaN classes.

    Args:
        ap: (C,), NaN where a class has no positive.
        groups: "head", "medium" and "tail" to class indices.

    Returns:
        "overall" and each group to its mean; NaN where none of its classes has a positive.
    """
    members = {"overall": np.arange(len(ap)), **groups}
    return {name: _mean(ap[index]) for name, index in members.items()}


def evaluate_scores(
    scores: NDArray[Any],
    labels: NDArray[Any],
    groups: Mapping[str, NDArray[np.int64]],
    views: Sequence[str | None] | None = None,
) -> Metrics:
    """Everything that a record says of one split's scores.

    Args:
        scores: Probabilities in [0, 1], (N, C).
        labels: 0 or 1, (N, C).
        groups: "head", "medium" and "tail" to class indices.
        views: Each video's view, where the benchmark has views.

    Raises:
        ValueError: As `average_precision`, or no class has a positive at all.
    """
    ap = average_precision(scores, labels)
    missing = int(np.isnan(ap).sum())
    if missing == len(ap):
        raise ValueError(f"none of the {len(ap)} classes has a positive among {len(labels)} videos")
    means = {name: _none(value) for name, value in group_means(ap, groups).items()}
    right = {name: hits(scores, labels, k) for name, k in ACCURACIES.items()}
    return Metrics(
        overall=_mean(ap),
        head=means["head"],
        medium=means["medium"],
        tail=means["tail"],
        acc1=_none(_mean(right["acc1"])),
        acc5=_none(_mean(right["acc5"])),
        classes_without_positives=missing,
        per_class_ap=tuple(_none(value) for value in ap),
        views=_by_view(scores, labels, groups, right, views or ()),
    )


def chance(
    labels: NDArray[Any], groups: Mapping[str, NDArray[np.int64]]
) -> dict[str, float | None]:
    """What a random ranking gives on average: all of `NUMBERS`, None where one is not defined.

    The AP of a class with P positives among N videos is then on average

        (H_N + (P - 1) (N - H_N) / (N - 1)) / N,  H_N = 1 + 1/2 + ... + 1/N:

    a positive at rank k, all ranks alike, has 1 + (k - 1) (P - 1) / (N - 1) positives down to it.
    That is more than the class's prevalence P / N, which is what one constant score gets, and most
    so for rare classes.

    Args:
        labels: 0 or 1, (N, C).
        groups: "head", "medium" and "tail" to class indices.
    """
    videos, positives = len(labels), np.asarray(labels, dtype=np.float64).sum(axis=0)
    harmonic = float((1 / np.arange(1, videos + 1)).sum())
    others = (positives - 1) * (videos - harmonic) / max(videos - 1, 1)
    means = group_means(np.where(positives > 0, (harmonic + others) / videos, np.nan), groups)
    constant = np.zeros(labels.shape, dtype=np.float32)
    right = {name: _mean(hits(constant, labels, k)) for name, k in ACCURACIES.items()}
    return {name: _none(value) for name, value in {**means, **right}.items()}


def _by_view(
    scores: NDArray[Any],
    labels: NDArray[Any],
    groups: Mapping[str, NDArray[np.int64]],
    right: Mapping[str, NDArray[np.float64]],
    views: Sequence[str | None],
) -> dict[str, dict[str, float | None]]:
    result = {}
    for view in sorted({view for view in views if view is not None}):
        rows = np.array([other == view for other in views])
        means = group_means(average_precision(scores[rows], labels[rows]), groups)
        means |= {name: _mean(of_videos[rows]) for name, of_videos in right.items()}
        result[view] = {name: _none(value) for name, value in means.items()}
    return result


def _positives(scores: NDArray[Any], labels: NDArray[Any], dtype: Any) -> list[NDArray[Any]]:
    """The scores of each class's positives, sorted."""
    rows, classes = np.divmod(np.flatnonzero(labels != 0), labels.shape[1])
    values = scores[rows, classes].astype(dtype)
    ends = np.bincount(classes, minlength=labels.shape[1]).cumsum()
    return np.split(values[np.lexsort((values, classes))], ends[:-1])


def _transposed(block: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """A copy with a class a row; by tiles, as long strides would miss every cache."""
    columns = np.empty(block.shape[::-1], dtype=dtype)
    for start in range(0, len(block), TILE):
        columns[:, start : start + TILE] = block[start : start + TILE].T
    return columns


def _one_class(scores: NDArray[Any], positive: NDArray[Any]) -> float:
    """AP from all scores, which are sorted in place, and the sorted ones of the positives."""
    if not len(positive):
        return np.nan
    scores.sort()
    retrieved = len(scores) - np.searchsorted(scores, positive, side="left")
    correct = len(positive) - np.searchsorted(positive, positive, side="left")
    return float(np.mean(correct / retrieved))


def _hits_of(scores: NDArray[Any], true: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """`hits` of some videos, (n,)."""
    highest = np.partition(scores, scores.shape[1] - k, axis=1)[:, -k:]
    edge = highest[:, :1]  # a partition's element stands where sorting would put it
    drawn = (highest == edge).sum(axis=1)  # k - a
    at_edge = scores == edge
    equal, right = at_edge.sum(axis=1), (at_edge & true).sum(axis=1)
    missed = np.ones(len(scores))
    for draw in range(k):
        left = np.maximum(equal - draw, 1)
        missed *= np.where(draw < drawn, np.maximum(left - right, 0) / left, 1)
    result = np.where(((scores > edge) & true).any(axis=1), 1, 1 - missed)
    return np.where(true.any(axis=1), result, np.nan)


def _check(scores: NDArray[Any], labels: NDArray[Any]) -> None:
    if scores.ndim != 2 or scores.shape != labels.shape:
        raise ValueError(
            f"scores and labels must have one shape (videos, classes), "
            f"not {scores.shape} and {labels.shape}"
        )
    if not scores.size:
        raise ValueError(f"there is nothing to score: shape {scores.shape}")
    if not np.issubdtype(scores.dtype, np.floating):
        raise ValueError(f"scores must be floats, not {scores.dtype}")
    low, high = scores.min(), scores.max()  # NaN if there is one
    if not (low >= 0 and high <= 1):
        row, column = np.argwhere(~((scores >= 0) & (scores <= 1)))[0]
        raise ValueError(
            f"scores must be probabilities in [0, 1], not {scores[row, column]} "
            f"(video {row}, class {column})"
        )
    if labels.dtype != np.bool_ and not ((labels == 0) | (labels == 1)).all():
        raise ValueError(f"labels must be 0 or 1, not {np.setdiff1d(labels, [0, 1])[0]}")


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else np.nan


def _none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
