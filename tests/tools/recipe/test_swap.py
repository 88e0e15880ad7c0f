"""Choosing videos whose class counts fall into ranges."""

from itertools import combinations

import numpy as np
import pytest

from tools.recipe.swap import Ranges, choose


def made_labels(seed: int, videos: int, classes: int):
    dice = np.random.default_rng(seed)
    return (dice.random((videos, classes)) < dice.random(classes)).astype(np.uint8)


def violation(labels, chosen, ranges) -> int:
    """The plain definition, class by class."""
    counts = [int(labels[chosen, label].sum()) for label in range(labels.shape[1])]
    pairs = [*zip(counts, ranges.low, ranges.high, strict=True)]
    pairs.append((sum(counts), ranges.labels_low, ranges.labels_high))
    return sum(max(low - count, count - high, 0) for count, low, high in pairs)


def ranges_around(labels, size, width, total):
    middle = labels[-size:].sum(axis=0, dtype=np.int64)
    return Ranges(middle - width, middle + width, *total)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("total", [(0, 10**6), (60, 62)])
def test_each_swap_is_the_best_of_all_pairs(seed, total):
    """Against a plain search over every pair, first one of equals, until none helps."""
    labels, size = made_labels(seed, 24, 6), 10
    ranges = ranges_around(labels, size, 0, total)
    chosen = [n < size for n in range(len(labels))]
    while True:
        now = violation(labels, np.array(chosen), ranges)
        best = (now, -1, -1)
        for out in (n for n in range(24) if chosen[n]):
            for into in (n for n in range(24) if not chosen[n]):
                trial = list(chosen)
                trial[out], trial[into] = False, True
                best = min(best, (violation(labels, np.array(trial), ranges), out, into))
        if best[0] >= now:
            break
        chosen[best[1]], chosen[best[2]] = False, True
    found = choose(labels, size, ranges)
    assert found.tolist() == chosen
    assert ranges.violation(labels[found].sum(axis=0, dtype=np.int64)) == violation(
        labels, found, ranges
    )


def test_what_holds_already_is_left_alone():
    labels = made_labels(0, 20, 4)
    counts = labels[:8].sum(axis=0, dtype=np.int64)
    chosen = choose(labels, 8, Ranges(counts, counts, 0, 10**6))
    assert np.flatnonzero(chosen).tolist() == list(range(8))


def test_small_cases_come_out_right():
    """Where some choice of 3 videos of 8 meets the ranges, one is found (here, in 2 swaps)."""
    met = 0
    for seed in range(10):
        labels = made_labels(seed, 8, 3)
        ranges = ranges_around(labels, 3, 0, (0, 10**6))
        assert any(
            violation(labels, list(choice), ranges) == 0 for choice in combinations(range(8), 3)
        )
        met += violation(labels, choose(labels, 3, ranges), ranges) == 0
    assert met >= 9


@pytest.mark.parametrize("size", [0, 5])
def test_none_and_all_can_be_chosen(size):
    labels = made_labels(1, 5, 3)
    ranges = Ranges(np.full(3, 9), np.full(3, 9), 0, 10)
    assert choose(labels, size, ranges).sum() == size
