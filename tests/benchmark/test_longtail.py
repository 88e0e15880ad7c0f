"""The long tail in numbers, and Table 1's row beside the paper's."""

import doctest
import math

import numpy as np
import pytest

from meid_bench.benchmark import longtail
from meid_bench.benchmark.longtail import (
    Bins,
    Statistics,
    class_counts,
    imbalance_ratio,
    statistics,
    table1_row,
)


def test_bins_are_half_open() -> None:
    groups = Bins(20, 100).groups(np.array([0, 20, 21, 100, 101, 5]))
    assert {group: index.tolist() for group, index in groups.items()} == {
        "head": [4],
        "medium": [2, 3],
        "tail": [0, 1, 5],
    }


@pytest.mark.parametrize("bounds", [(-1, 5), (6, 5)])
def test_bins_out_of_order_are_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="0 <= tail_max <= medium_max"):
        Bins(*bounds)


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([9, 8, 7, 6, 5, 4, 3, 2, 1], (3, 3, 3)),
        ([9, 5, 1], (1, 1, 1)),
        ([4, 4, 4], (0, 0, 3)),  # equal counts stay together
        ([3], (0, 0, 1)),
    ],
)
def test_thirds_of_the_classes(counts: list[int], sizes: tuple[int, int, int]) -> None:
    array = np.array(counts)
    groups = Bins.thirds(array).groups(array)
    assert tuple(len(groups[group]) for group in ("head", "medium", "tail")) == sizes


def test_a_label_counts_once_a_video() -> None:
    assert class_counts([(0, 2), (0,), ()], 4).tolist() == [2, 0, 1, 0]


def test_imbalance_is_largest_over_smallest() -> None:
    assert imbalance_ratio(np.array([556, 9, 30])) == 556 / 9
    assert imbalance_ratio(np.array([3, 0])) == math.inf
    assert math.isnan(imbalance_ratio(np.array([], dtype=np.int64)))


def test_a_row_of_table_1() -> None:
    labels = {"train": [(0, 1), (0,), (0,)], "val": [(1,)], "test": [(0,), (1,)]}
    row = statistics(labels, 2, Bins(1, 2))
    assert row == Statistics(2, 1, 0, 1, 3, 1, 2, 6 / 5, 3.0)


def test_numbers_agree_where_they_print_alike() -> None:
    found = Statistics(157, 41, 81, 35, 2213, 469, 1012, 6.8501, 61.7499)
    paper = Statistics(157, 41, 81, 34, 2213, 469, 1012, 6.9, 61.8)
    verdicts = {number.name: number.agrees for number in table1_row(found, paper)}
    assert verdicts.pop("tail classes") is False
    assert verdicts.pop("imbalance ratio (train)") is False
    assert set(verdicts.values()) == {True}
    assert all(number.agrees is None for number in table1_row(found, None))


def test_the_docstring_is_true() -> None:
    assert doctest.testmod(longtail).failed == 0
