"""What official lists gain over subject-disjoint ones, against direct computations."""

from dataclasses import replace

import numpy as np
import pytest

from meid_bench.results.bootstrap import Resampled, resample
from meid_bench.training.leak import (
    MEAN,
    Drawn,
    differences,
    drawn_rows,
    shared_subjects,
    with_mean,
)
from tests.made_records import make_benchmark

MEASURES = ("overall", "head", "medium", "tail")
GROUPS = {"head": np.array([0]), "medium": np.array([1]), "tail": np.array([2])}


def made(full: dict[str, float], seed: int) -> dict[str, Drawn]:
    rng = np.random.default_rng(seed)
    return {
        row: Drawn(np.full(4, value), value + rng.normal(scale=0.1, size=(400, 4)))
        for row, value in full.items()
    }


def test_the_interval_is_the_basic_one_of_two_independent_lists() -> None:
    first, second = made({"a": 0.5, "b": 0.3}, 0), made({"a": 0.2, "b": 0.4}, 1)
    found = differences(first, second, MEASURES)
    for row, expected in (("a", 0.3), ("b", -0.1)):
        for column, measure in enumerate(MEASURES):
            gain = found[row][measure]
            drawn = first[row].resampled[:, column] - second[row].resampled[:, column]
            low, high = np.quantile(drawn, [0.025, 0.975])
            assert gain.difference == pytest.approx(expected)
            assert gain.low == pytest.approx(2 * expected - high)
            assert gain.high == pytest.approx(2 * expected - low)
    # Two spreads of 0.1 that know nothing of each other: sqrt(2) as wide as one.
    widths = [each.high - each.low for row in found.values() for each in row.values()]
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 0.1 * 2**0.5, abs=0.04)


def test_the_mean_of_all_rows_is_a_row() -> None:
    rows = made({"a": 0.5, "b": 0.3}, 0)
    one = with_mean(rows)[MEAN]
    assert one.full == pytest.approx(np.full(4, 0.4))
    assert np.allclose(one.resampled, (rows["a"].resampled + rows["b"].resampled) / 2)


def test_a_measure_that_one_list_has_not_is_left_out() -> None:
    first, second = made({"a": 0.5}, 0), made({"a": 0.2}, 1)
    second["a"].full[3] = np.nan
    second["a"].resampled[7, 2] = np.nan
    found = differences(first, second, MEASURES)["a"]
    assert list(found) == ["overall", "head", "medium"]
    assert np.isfinite([found["medium"].low, found["medium"].high]).all()


def test_seeds_that_differ_widen_the_interval_and_one_seed_does_not() -> None:
    rng = np.random.default_rng(0)
    means = {"a": rng.normal(scale=0.01, size=(4000, 4))}
    alike = Resampled(MEASURES, {"a": np.full((3, 4), 0.2)}, means, 30)
    apart = replace(alike, runs={"a": np.repeat([[0.3], [0.2], [0.1]], 4, axis=1)})
    one = replace(alike, runs={"a": np.full((1, 4), 0.2)})
    drawn = {name: drawn_rows(each, "x")["a"] for name, each in (("alike", alike), ("one", one))}
    assert np.allclose(drawn["alike"].resampled, means["a"], rtol=0, atol=1e-12)
    assert np.array_equal(drawn["one"].resampled, means["a"])
    moved = drawn_rows(apart, "x")["a"].resampled - means["a"]
    # Student's t with 2 degrees of freedom: 4.30 standard errors of 0.1 / sqrt(3) at 97.5 %.
    assert np.quantile(moved[:, 0], 0.975) == pytest.approx(4.30 * 0.1 / 3**0.5, rel=0.15)
    assert not np.array_equal(moved, drawn_rows(apart, "y")["a"].resampled - means["a"])


def test_where_nothing_leaks_the_interval_holds_zero() -> None:
    """Two lists drawn alike, their subjects unlike: 95 % of the intervals must hold zero."""

    def one_list(rng: np.random.Generator, seed: int) -> dict[str, Drawn]:
        clusters = np.arange(120) % 30
        labels = (rng.random((120, 3)) < 0.4).astype(np.uint8)
        skill = rng.normal(1.0, 0.8, size=(30, 1))[clusters]  # some people are easier
        scores = 1 / (1 + np.exp(-rng.normal(size=labels.shape) - skill * labels))
        drawn = resample({"a": [scores]}, labels, clusters, GROUPS, 200, seed)
        return drawn_rows(drawn, str(seed))

    rng = np.random.default_rng(0)
    pairs = [(one_list(rng, 0), one_list(rng, 1)) for _ in range(150)]
    trials = [differences(*pair, MEASURES)["a"]["overall"] for pair in pairs]
    held = np.mean([trial.low <= 0 <= trial.high for trial in trials])
    assert 0.88 <= held <= 0.99


def test_shared_subjects_are_counted() -> None:
    assert shared_subjects(make_benchmark(subjects=12)) == (12, 12)
    assert shared_subjects(make_benchmark(subjects=None)) == (0, 0)
