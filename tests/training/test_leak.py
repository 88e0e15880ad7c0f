"""What official lists gain over subject-disjoint ones, against direct computations."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from meid_bench.results.bootstrap import Resampled, resample
from meid_bench.training.leak import ListDraws, difference_intervals, list_draws, shared_subjects
from tests.made_records import make_benchmark

MEASURES = ("overall", "head", "medium", "tail")
GROUPS = {"head": np.array([0]), "medium": np.array([1]), "tail": np.array([2])}


def made(full: list[float], seed: int) -> ListDraws:
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(len(full), 400, 4))
    values = np.repeat(np.array(full)[:, None], 4, axis=1)
    return ListDraws(values, values[:, None, :] + noise)


def test_the_interval_is_the_basic_one_of_two_independent_lists() -> None:
    first, second = made([0.5, 0.3], 0), made([0.2, 0.4], 1)
    low, high = difference_intervals(first, second)
    for row, expected in enumerate((0.3, -0.1)):
        drawn = first.resampled[row] - second.resampled[row]
        ends = np.quantile(drawn, [0.975, 0.025], axis=0)
        np.testing.assert_allclose([low[row], high[row]], 2 * expected - ends)
    # Two spreads of 0.1 that know nothing of each other: sqrt(2) as wide as one.
    assert (high - low).mean() == pytest.approx(2 * 1.96 * 0.1 * 2**0.5, abs=0.04)


def test_the_mean_of_all_rows_is_the_last_row() -> None:
    means = dict(zip("ab", made([0.5, 0.3], 0).resampled, strict=True))
    runs = {"a": np.full((1, 4), 0.5), "b": np.full((1, 4), 0.3)}
    found = list_draws(Resampled(MEASURES, runs, means, 30), "x")
    assert found.full[-1] == pytest.approx(np.full(4, 0.4))
    assert np.allclose(found.resampled[-1], (means["a"] + means["b"]) / 2)


def test_a_measure_that_one_list_has_not_has_no_interval() -> None:
    first, second = made([0.5], 0), made([0.2], 1)
    second.full[0, 3] = np.nan
    second.resampled[0, 7, 2] = np.nan
    low, high = difference_intervals(first, second)
    assert np.isfinite([low[0, :3], high[0, :3]]).all()
    assert np.isnan([low[0, 3], high[0, 3]]).all()


def test_seeds_that_differ_widen_the_interval_and_one_seed_does_not() -> None:
    rng = np.random.default_rng(0)
    means = {"a": rng.normal(scale=0.01, size=(4000, 4))}
    alike = Resampled(MEASURES, {"a": np.full((3, 4), 0.2)}, means, 30)
    apart = replace(alike, runs={"a": np.repeat([[0.3], [0.2], [0.1]], 4, axis=1)})
    one = replace(alike, runs={"a": np.full((1, 4), 0.2)})

    def moved(resampled: Resampled, name: str = "x") -> NDArray[np.float64]:
        return list_draws(resampled, name).resampled[0] - means["a"]

    assert np.allclose(moved(alike), 0, rtol=0, atol=1e-12)
    assert not moved(one).any()
    # Student's t with 2 degrees of freedom: 4.30 standard errors of 0.1 / sqrt(3) at 97.5 %.
    assert np.quantile(moved(apart)[:, 0], 0.975) == pytest.approx(4.30 * 0.1 / 3**0.5, rel=0.15)
    assert not np.array_equal(moved(apart), moved(apart, "y"))


def test_where_nothing_leaks_the_interval_holds_zero() -> None:
    """Two lists drawn alike, their subjects unlike: 95 % of the intervals must hold zero."""

    def one_list(rng: np.random.Generator, seed: int) -> ListDraws:
        clusters = np.arange(120) % 30
        labels = (rng.random((120, 3)) < 0.4).astype(np.uint8)
        skill = rng.normal(1.0, 0.8, size=(30, 1))[clusters]  # some people are easier
        scores = 1 / (1 + np.exp(-rng.normal(size=labels.shape) - skill * labels))
        drawn = resample({"a": [scores]}, labels, clusters, GROUPS, 200, seed)
        return list_draws(drawn, str(seed))

    rng = np.random.default_rng(0)
    pairs = [(one_list(rng, 0), one_list(rng, 1)) for _ in range(150)]
    ends = np.array([difference_intervals(*pair) for pair in pairs])[:, :, 0, 0]
    assert 0.88 <= np.mean((ends[:, 0] <= 0) & (ends[:, 1] >= 0)) <= 0.99


def test_shared_subjects_are_counted() -> None:
    assert shared_subjects(make_benchmark(subjects=12)) == (12, 12)
    assert shared_subjects(make_benchmark(subjects=None)) == (0, 0)
