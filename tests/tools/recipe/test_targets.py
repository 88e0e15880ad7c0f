"""Targets of a split, and what it misses of them."""

import re
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import kendalltau

from meid_bench.benchmark.annotation import Annotation
from meid_bench.errors import DataError
from tools.recipe.targets import Targets, Tau, printed, shortfalls

RECIPE = {
    "sizes": {"train": 4, "val": 1, "test": 1},
    "bins": {"tail_max": 1, "medium_max": 2},
    "groups": {"head": 1, "medium": 1, "tail": 1},
    "imbalance_ratio": "4.0",
    "labels_per_training_video": "1.75",
    "min_positives": {"val": 1, "test": 1},
    "min_tau": "0.9",
    "seed": "s",
}


def videos(*labels: tuple[int, ...], prefix: str = "") -> list[Annotation]:
    return [
        Annotation(f"{prefix}{n}", label, subject=f"{prefix}{n}") for n, label in enumerate(labels)
    ]


def made_split() -> dict[str, list[Annotation]]:
    return {
        "train": videos((0,), (0, 1), (0, 1), (0, 2), prefix="a"),
        "val": videos((0, 1, 2), prefix="b"),
        "test": videos((0, 1, 2), prefix="c"),
    }


def test_an_exact_split_misses_nothing():
    assert shortfalls(made_split(), np.array([9, 5, 1]), Targets.from_dict(RECIPE)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": videos((0, 1, 2))}, "train has 1 videos, wanted 4"),
        ({"train": videos(*[(0, 1, 2)] * 4)}, "head has 3 classes, wanted 1"),
        ({"train": videos((0,), (0, 1), (0, 1), (2,))}, r"imbalance ratio is 3.000 \(3 / 1\)"),
        ({"train": videos((0,), (0,), (0, 1), (0, 2))}, "labels per training video is 1.500"),
        ({"train": videos((2,), (1, 2), (1, 2), (0, 2))}, "Kendall's tau .* is -1.0000"),
        ({"val": videos((0, 1))}, r"val has fewer than 1 positives of c002 \(0\)"),
        ({"test": [Annotation("b0", (0, 1, 2))]}, "val and test share 1 id"),
        ({"test": [Annotation("c0", (0, 1, 2), subject="a1")]}, "train and test share 1 subject"),
    ],
)
def test_what_is_missed_is_named_with_by_how_much(change, said):
    missed = shortfalls(made_split() | change, np.array([9, 5, 1]), Targets.from_dict(RECIPE))
    assert any(re.search(said, sentence) for sentence in missed), missed


@pytest.mark.parametrize("key", ["script", "pair"])
def test_scripts_and_pairs_are_looked_at_too(key):
    split = made_split()
    split["train"][0] = Annotation("a0", (0,), **{key: "x"})
    split["val"][0] = Annotation("b0", (0, 1, 2), **{key: "x"})
    missed = shortfalls(split, np.array([9, 5, 1]), Targets.from_dict(RECIPE))
    assert missed == [f"train and val share 1 {key}"]


def test_a_printed_number_is_an_open_interval():
    assert printed("61.8") == (Fraction(6175, 100), Fraction(6185, 100))
    assert printed("6.9", more_digits=1) == (Fraction(6895, 1000), Fraction(6905, 1000))
    assert printed("7") == (Fraction(13, 2), Fraction(15, 2))


@pytest.mark.parametrize("seed", range(20))
def test_tau_is_scipys(seed):
    dice = np.random.default_rng(seed)
    a, b = dice.integers(0, 12, size=(2, 30))
    tau, expected = Tau.of(a, b), kendalltau(a, b).statistic
    assert float(tau) == pytest.approx(expected, abs=1e-6)
    if expected > 0:
        assert tau.at_least(Fraction(expected) - Fraction(1, 10**9))
    assert not tau.at_least(Fraction(max(expected, 0)) + Fraction(1, 10**9))


def test_tau_of_nothing_but_ties_is_nan_and_reaches_no_bound():
    tau = Tau.of(np.array([1, 1]), np.array([1, 2]))
    assert np.isnan(float(tau)) and not tau.at_least(Fraction(0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sed": "s"}, "unknown key 'sed'"),
        ({"sizes": {"train": 4, "val": 1}}, "sizes must hold integers from 1"),
        ({"sizes": {"train": 0, "val": 1, "test": 1}}, "sizes must hold integers from 1"),
        ({"groups": {"head": 1.5, "medium": 1, "tail": 1}}, "groups.head must be int"),
        ({"imbalance_ratio": "much"}, "imbalance_ratio must be a number"),
        ({"bins": {"tail_max": 3, "medium_max": 2}}, "tail_max <= medium_max"),
    ],
)
def test_a_bad_recipe_is_refused(change, said):
    with pytest.raises(DataError, match=said):
        Targets.from_dict(RECIPE | change)
