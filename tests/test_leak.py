"""What official lists gain over subject-disjoint ones, against direct computations."""

import numpy as np
import pytest

from meid_bench.board.bootstrap import Resampled, resample
from meid_bench.running.leak import MEAN, differences, shared_subjects, with_mean
from tests.made_records import make_benchmark

MEASURES = ("overall", "head", "medium", "tail")
GROUPS = {"head": np.array([0]), "medium": np.array([1]), "tail": np.array([2])}


def made(full: dict[str, float], seed: int) -> Resampled:
    rng = np.random.default_rng(seed)
    return Resampled(
        MEASURES,
        {row: np.full((1, 4), value) for row, value in full.items()},
        {row: value + rng.normal(scale=0.1, size=(400, 4)) for row, value in full.items()},
        1000,
    )


def test_the_interval_is_that_of_two_independent_lists() -> None:
    first, second = made({"a": 0.5, "b": 0.3}, 0), made({"a": 0.2, "b": 0.4}, 1)
    found = differences(first, second)
    for row, expected in (("a", 0.3), ("b", -0.1)):
        for column, measure in enumerate(MEASURES):
            interval = found[row][measure]
            drawn = first.means[row][:, column] - second.means[row][:, column]
            assert interval.difference == pytest.approx(expected)
            assert (interval.low + interval.high) / 2 == pytest.approx(expected, abs=0.02)
            assert interval.high - interval.low == pytest.approx(2 * 1.96 * drawn.std(), rel=0.1)
    # Two spreads of 0.1 that know nothing of each other: sqrt(2) as wide as one.
    widths = [each.high - each.low for row in found.values() for each in row.values()]
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 0.1 * 2**0.5, abs=0.04)


def test_the_mean_of_all_rows_is_a_row() -> None:
    one = with_mean(made({"a": 0.5, "b": 0.3}, 0))
    assert one.full[MEAN] == pytest.approx(np.full(4, 0.4))
    assert np.allclose(one.means[MEAN], (one.means["a"] + one.means["b"]) / 2)


def test_a_measure_that_one_list_has_not_is_left_out() -> None:
    first, second = made({"a": 0.5}, 0), made({"a": 0.2}, 1)
    second.means["a"][:, 3] = np.nan
    second.means["a"][7, 2] = np.nan
    assert list(differences(first, second)["a"]) == ["overall", "head", "medium"]


def test_where_nothing_leaks_the_interval_holds_zero() -> None:
    """Two lists drawn alike, their subjects unlike: 95 % of the intervals must hold zero."""

    def one_list(rng: np.random.Generator, seed: int) -> Resampled:
        clusters = np.arange(120) % 30
        labels = (rng.random((120, 3)) < 0.4).astype(np.uint8)
        skill = rng.normal(1.0, 0.8, size=(30, 1))[clusters]  # some people are easier
        scores = 1 / (1 + np.exp(-rng.normal(size=labels.shape) - skill * labels))
        return resample({"a": [scores]}, labels, clusters, GROUPS, 200, seed)

    rng = np.random.default_rng(0)
    trials = [differences(one_list(rng, 0), one_list(rng, 1))["a"]["overall"] for _ in range(150)]
    held = np.mean([trial.low <= 0 <= trial.high for trial in trials])
    assert 0.88 <= held <= 0.99


def test_shared_subjects_are_counted() -> None:
    assert shared_subjects(make_benchmark(subjects=12)) == (12, 12)
    assert shared_subjects(make_benchmark(subjects=None)) == (0, 0)
