"""The recipe: a long-tailed split of official files that meets given statistics; pure.

What it returns depends on the ids, labels, subjects, scripts and a seed string, and on nothing
else: order comes from SHA-256, decisions from integers, so that every platform, and every
version of every library, gives the same lists.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import SPLITS
from meid_bench.benchmark.longtail import GROUPS, class_counts, multi_hot
from meid_bench.errors import DataError
from tools.recipe.heldout import hold_out
from tools.recipe.swap import Ranges, choose
from tools.recipe.targets import KEYS, Targets, Tau, printed, shortfalls, train_shortfalls

_EXTREMES = 3  # pairs of largest and smallest count that are tried
_ORDERS = 2  # orders that each of them is tried in


@dataclass(frozen=True)
class SplitResult:
    """Three lists of ids, each sorted, and what they miss of the targets.

    Attributes:
        train: Video ids.
        val: Video ids.
        test: Video ids.
        missed: A sentence for each target that is missed, with by how much; empty when exact.
        tau: Kendall's tau-b of the class counts of train with those of its pool, six places.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    missed: tuple[str, ...]
    tau: float


def make_split(
    train_pool: Sequence[Annotation],
    test_pool: Sequence[Annotation],
    num_classes: int,
    targets: Targets,
) -> SplitResult:
    """Choose train from one pool, val and test from the other.

    Val and test come first (see `heldout.hold_out`). Then training videos that share a
    subject, a script or a pair with them are set aside; where too few would be left, the data
    do not allow it, and what is shared is reported. Classes are ranked by their count in the
    pool, so that the most frequent become head; each class has a range of counts, the largest
    and the smallest one a single value so that their quotient prints as wanted, and
    `swap.choose` finds videos that meet them.

    Args:
        train_pool: The official training videos; those without labels are left out.
        test_pool: The official test videos; likewise.
        num_classes: C.
        targets: What to reach.

    Returns:
        The best split found, with what it misses.

    Raises:
        DataError: A pool has no labelled video, or the recipe contradicts itself or
            the number of classes.

    Reference:
        The statistics are those of MEID (AAAI 2023), Table 1; the way to them is our own. How its
        authors made their lists: the paper's supplement, section 3.
    """
    train_pool = [video for video in train_pool if video.labels]
    test_pool = [video for video in test_pool if video.labels]
    if not train_pool or not test_pool:
        empty = "test" if train_pool else "train"
        raise DataError(f"No {empty} video has a label, so that there is nothing to split")
    if sum(targets.groups.values()) != num_classes:
        raise DataError(
            f"The recipe has {sum(targets.groups.values())} classes in its groups, the data have "
            f"{num_classes}; mend its targets"
        )

    def order(videos: Sequence[Annotation], attempt: int) -> list[Annotation]:
        return sorted(videos, key=lambda video: _hash(targets.seed, attempt, video))

    splits = hold_out(test_pool, num_classes, targets.sizes, targets.min_positives, order)
    allowed = _apart(train_pool, [*splits["val"], *splits["test"]], targets.sizes["train"])
    full = class_counts((video.labels for video in train_pool), num_classes)
    splits["train"], tau = _best_train(order, allowed, full, targets)
    return SplitResult(
        **{name: tuple(sorted(video.id for video in splits[name])) for name in SPLITS},
        missed=tuple(shortfalls(splits, full, targets)),
        tau=float(tau),
    )


def _best_train(
    order: Callable[[Sequence[Annotation], int], list[Annotation]],
    allowed: Sequence[Annotation],
    full: NDArray[np.int64],
    targets: Targets,
) -> tuple[list[Annotation], Tau]:
    """The training videos of the first attempt that misses nothing, or that misses least."""
    best: list[Annotation] = []
    tau, fewest = Tau.of(np.zeros_like(full), full), None
    size = min(targets.sizes["train"], len(allowed))
    for top, bottom, attempt in _attempts(full, targets):
        videos = order(allowed, attempt)
        labels = multi_hot([video.labels for video in videos], len(full))
        chosen = choose(labels, size, _ranges(full, targets, top, bottom))
        counts = labels[chosen].sum(axis=0, dtype=np.int64)
        missed = len(train_shortfalls(counts, size, full, targets))
        if fewest is None or missed < fewest:
            best = [videos[i] for i in np.flatnonzero(chosen)]
            tau, fewest = Tau.of(counts, full), missed
        if missed == 0:
            break
    return best, tau


def _hash(seed: str, attempt: int, video: Annotation) -> tuple[bytes, str]:
    """Sorting key that keeps paired views together; the id settles what is equal."""
    text = f"{seed}\n{attempt}\n{video.pair or video.id}"
    return hashlib.sha256(text.encode()).digest(), video.id


def _apart(
    videos: Sequence[Annotation], held_out: Sequence[Annotation], size: int
) -> list[Annotation]:
    """Leave out videos that share a key with `held_out`, where enough are left without them."""
    for key in KEYS:
        taken = {getattr(video, key) for video in held_out} - {None}
        apart = [video for video in videos if getattr(video, key) not in taken]
        if len(apart) >= size:
            videos = apart
    return list(videos)


def _attempts(full: NDArray[np.int64], targets: Targets) -> Iterator[tuple[int, int, int]]:
    """Largest count, smallest count and number of the order, in the order they are tried."""
    for top, bottom in _extremes(full, targets)[:_EXTREMES]:
        for attempt in range(_ORDERS):
            yield top, bottom, attempt


def _extremes(full: NDArray[np.int64], targets: Targets) -> list[tuple[int, int]]:
    """Pairs (largest count, smallest count) with the wanted quotient, the likeliest first.

    Likeliest is nearest, relatively, to what a proportional draw of that many labels gives.
    """
    low, high = printed(targets.imbalance_ratio)
    labels = Fraction(targets.labels_per_training_video) * targets.sizes["train"]
    share = labels / max(int(full.sum()), 1)
    largest, smallest = share * int(full.max()), share * max(int(full.min()), 1)
    bounds = list(_bounds(targets).values())
    pairs = [
        (top, bottom)
        for bottom in range(bounds[-1][0], bounds[-1][1] + 1)
        for top in range(int(low * bottom) + 1, int(high * bottom) + 1)
        if low * bottom < top < high * bottom and bounds[0][0] <= top <= bounds[0][1]
    ]
    if not pairs:
        raise DataError(
            f"No two class counts in the recipe's bins have the quotient {targets.imbalance_ratio} "
            f"with {targets.sizes['train']} training videos; mend its targets"
        )
    return sorted(
        pairs,
        key=lambda pair: (abs(pair[0] / largest - 1) + abs(pair[1] / smallest - 1), pair),
    )


def _bounds(targets: Targets) -> dict[str, tuple[int, int]]:
    """Least and most training videos of a class, by group; only groups that have classes."""
    bins, videos = targets.bins, targets.sizes["train"]
    bounds = {
        "head": (bins.medium_max + 1, videos),
        "medium": (bins.tail_max + 1, bins.medium_max),
        "tail": (1, bins.tail_max),
    }
    return {group: bounds[group] for group in GROUPS if targets.groups[group]}


def _ranges(full: NDArray[np.int64], targets: Targets, top: int, bottom: int) -> Ranges:
    """Ranges of class counts: bins by rank in the pool, the first `top`, the last `bottom`."""
    bounds = _bounds(targets)
    by_rank = np.repeat(
        np.array(list(bounds.values())), [targets.groups[group] for group in bounds], axis=0
    )
    rank = np.lexsort((np.arange(len(full)), -full))
    low, high = np.zeros_like(full), np.zeros_like(full)
    low[rank] = np.maximum(by_rank[:, 0], bottom)
    high[rank] = np.minimum(by_rank[:, 1], top)
    low[rank[0]] = high[rank[0]] = top
    low[rank[-1]] = high[rank[-1]] = bottom
    # One more digit than was printed keeps the mean away from where rounding would turn it.
    precise = printed(targets.labels_per_training_video, more_digits=1)
    fewest, most = (bound * targets.sizes["train"] for bound in precise)
    return Ranges(low, high, labels_low=int(fewest) + 1, labels_high=-int(-most // 1) - 1)
