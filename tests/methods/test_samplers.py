"""Samplers: the distribution that they draw, the class they name, and that they repeat."""

from collections import Counter
from typing import get_args

import numpy as np
import pytest
from scipy.stats import chisquare

from meid_bench.methods.method import Sampler
from meid_bench.methods.samplers import EpochSampler, batches

# 60 videos: class 0 in all, class 1 in 20, class 2 in 4, class 3 in one, class 4 in none.
LABELS = np.zeros((60, 5), dtype=np.uint8)
LABELS[:, 0] = 1
LABELS[:20, 1] = 1
LABELS[20:24, 2] = 1
LABELS[59, 3] = 1
DRAWS = 100_000


def many(sampler: Sampler) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """At least 100,000 draws: indices and picked classes."""
    source = EpochSampler(LABELS, sampler)
    epochs = [source.draw(0, 0, epoch) for epoch in range(DRAWS // len(LABELS) + 1)]
    picked = [draws.picked for draws in epochs]
    assert all(classes is not None for classes in picked)
    return np.concatenate([d.index for d in epochs]), np.concatenate(picked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sampler", "weights"),
    [("class_balanced", [1, 1, 1, 1]), ("square_root", np.sqrt([60, 20, 4, 1]))],
)
def test_classes_and_videos_are_drawn_as_they_should(sampler: Sampler, weights: list[int]) -> None:
    index, picked = many(sampler)
    share = np.array(weights) / np.sum(weights)
    counts = np.bincount(picked, minlength=5)
    assert counts[4] == 0  # a class without videos cannot be drawn
    assert chisquare(counts[:4], share * len(picked)).pvalue > 1e-4
    # A video's chance is the sum over its classes of the class's share over its count.
    chance = (LABELS[:, :4] * share / LABELS[:, :4].sum(0)).sum(1)
    assert chisquare(np.bincount(index, minlength=60), chance * len(index)).pvalue > 1e-4
    assert LABELS[index, picked].all()  # the video has the class for which it was drawn


def test_the_chi_square_test_can_fail() -> None:
    _, picked = many("square_root")
    uniform = np.full(4, len(picked) / 4)
    assert chisquare(np.bincount(picked)[:4], uniform).pvalue < 1e-4


def test_a_uniform_epoch_visits_each_video_once() -> None:
    draws = EpochSampler(LABELS, "uniform").draw(0, 0, 0)
    assert draws.picked is None
    assert Counter(draws.index.tolist()) == Counter(range(60))


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_an_epoch_has_as_many_draws_as_videos_and_repeats(sampler: Sampler) -> None:
    first, second = EpochSampler(LABELS, sampler), EpochSampler(LABELS, sampler)
    for numbers in ((0, 0, 0), (3, 1, 7)):
        one, two = first.draw(*numbers), second.draw(*numbers)
        assert len(one.index) == 60
        assert np.array_equal(one.index, two.index)
    base = first.draw(0, 0, 0).index
    for other in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert not np.array_equal(first.draw(*other).index, base), other


@pytest.mark.parametrize(
    ("size", "batch", "expected"),
    [
        (10, 4, [4, 4, 2]),
        (9, 4, [4, 5]),  # a last batch of one video has no variance
        (8, 4, [4, 4]),
        (1, 4, [1]),
        (3, 8, [3]),
        (4, 1, [1, 1, 2]),
    ],
)
def test_batches(size: int, batch: int, expected: list[int]) -> None:
    parts = [list(range(size))[part] for part in batches(size, batch)]
    assert [len(part) for part in parts] == expected
    assert [number for part in parts for number in part] == list(range(size))
