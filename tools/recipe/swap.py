"""Choosing a fixed number of videos so that class counts fall into given ranges; pure.

Everything that is decided is decided by integers. The matrix product below runs in float32
only because that is what is fast: its terms are small integers, so that every sum in it is an
integer below 2**24 and exact, in whatever order a processor adds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_EXACT = 1 << 24  # float32 holds every integer up to here
_ROWS = 64  # leaving videos that are multiplied out together


@dataclass(frozen=True)
class Ranges:
    """What the chosen videos should add up to; both ends are allowed.

    Attributes:
        low: Fewest videos per class, (C,) int64.
        high: Most videos per class, (C,) int64, each at least `low`.
        labels_low: Fewest labels of all chosen videos together.
        labels_high: Most of them.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    labels_low: int
    labels_high: int

    def excess(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """How far each class count is outside its range, (C,) int64."""
        outside: NDArray[np.int64] = np.maximum(self.low - counts, counts - self.high)
        return np.maximum(outside, 0)

    def labels_excess(self, total: NDArray[np.int64]) -> NDArray[np.int64]:
        """How far numbers of labels are outside their range, the shape of `total`."""
        outside: NDArray[np.int64] = np.maximum(self.labels_low - total, total - self.labels_high)
        return np.maximum(outside, 0)

    def violation(self, counts: NDArray[np.int64]) -> int:
        """Sum of all that is outside: 0 where every range is met."""
        return int(self.excess(counts).sum() + self.labels_excess(counts.sum()))


def choose(labels: NDArray[np.uint8], size: int, ranges: Ranges) -> NDArray[np.bool_]:
    """Choose `size` videos whose class counts violate `ranges` least.

    Starts from the first `size` videos and swaps one in for one out, each time the best pair of
    all, as long as that helps; of equal pairs the first in the given order is taken. The result
    is a function of its arguments alone.

    Args:
        labels: Multi-hot labels (N, C) of 0 and 1, in the order of preference.
        size: Videos to choose, at most N.
        ranges: What to reach.

    Returns:
        Which videos are chosen, (N,) bool. Whether `ranges` are met is for the caller to see.
    """
    matrix = labels.astype(np.float32)
    sizes = labels.sum(axis=1, dtype=np.int64)
    chosen = np.zeros(len(labels), dtype=np.bool_)
    chosen[:size] = True
    counts = labels[chosen].sum(axis=0, dtype=np.int64)
    while ranges.violation(counts) > 0:
        leaving, entering = np.flatnonzero(chosen), np.flatnonzero(~chosen)
        pair = _best_pair(matrix, sizes, leaving, entering, counts, ranges)
        if pair is None:
            break
        out, into = pair
        chosen[out], chosen[into] = False, True
        counts += labels[into].astype(np.int64) - labels[out]
    return chosen


def _best_pair(
    matrix: NDArray[np.float32],
    sizes: NDArray[np.int64],
    leaving: NDArray[np.int64],
    entering: NDArray[np.int64],
    counts: NDArray[np.int64],
    ranges: Ranges,
) -> tuple[int, int] | None:
    """The swap (out, in) that lowers the violation most, or None where none does.

    A pair changes the violation by what its two videos change alone, corrected for the classes
    they share. The correction is at most what the leaving video's classes allow, so that most
    leaving videos cannot be in a better pair than the best so far and are never multiplied out.
    """
    if not len(leaving) or not len(entering):
        return None
    now = ranges.excess(counts)
    gain_in = ranges.excess(counts + 1) - now
    gain_out = ranges.excess(counts - 1) - now
    # A class that one video loses and the other brings does not change: take both gains back.
    both = gain_in + gain_out
    kinks = np.flatnonzero(both)
    shared = matrix[:, kinks]
    weights = both[kinks].astype(np.float32)
    alone_out = (matrix @ gain_out.astype(np.float32))[leaving]
    alone_in = (matrix @ gain_in.astype(np.float32))[entering]
    by_labels = _by_labels(sizes, counts, ranges)[sizes[leaving]]  # (leaving, sizes)
    cheapest = np.full(by_labels.shape[1], np.inf, dtype=np.float32)
    np.minimum.at(cheapest, sizes[entering], alone_in)
    bound = alone_out + (by_labels + cheapest).min(axis=1) - (shared @ weights)[leaving]
    best, found = np.float32(0), None
    order = np.argsort(bound, kind="stable")
    for start in range(0, len(order), _ROWS):
        rows = np.sort(order[start : start + _ROWS])
        if bound[order[start]] > best or (found is None and bound[order[start]] >= best):
            break
        change = (shared[leaving[rows]] * -weights) @ shared[entering].T
        change += alone_out[rows, None] + alone_in + by_labels[rows][:, sizes[entering]]
        row, column = divmod(int(change.argmin()), len(entering))
        pair = int(leaving[rows[row]]), int(entering[column])
        if change[row, column] < best or (change[row, column] == best and found and pair < found):
            best, found = change[row, column], pair
    return found


def _by_labels(
    sizes: NDArray[np.int64], counts: NDArray[np.int64], ranges: Ranges
) -> NDArray[np.float32]:
    """What the number of labels adds to a swap: entry (labels out, labels in)."""
    steps = np.arange(int(sizes.max()) + 1)
    total = counts.sum()
    change = ranges.labels_excess(total + steps[None, :] - steps[:, None])
    change -= ranges.labels_excess(total)
    assert np.abs(change).max() + 4 * len(counts) < _EXACT
    return change.astype(np.float32)
