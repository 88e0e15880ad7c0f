"""How much of a weight falls inside intervals, against numbers worked out by hand."""

import numpy as np
import pytest

from meid_bench.benchmark.annotation import Annotation, Interval
from meid_bench.training.explain import frames_inside, inside_intervals

GROUPS = {"head": np.array([0]), "medium": np.array([1]), "tail": np.array([2])}
TIMES = np.array([[0.0, 1.0, 2.0, 3.0]])


def video(*intervals):
    labels = tuple(sorted({label for label, _, _ in intervals}))
    return Annotation("v", labels, tuple(Interval(*interval) for interval in intervals))


def test_shares_are_those_of_the_definition():
    one = video((0, 0.5, 2.0), (2, 2.5, 9.0))
    found = inside_intervals({"A": np.array([[1.0, 2.0, 3.0, 4.0]])}, TIMES, [one], GROUPS)
    assert found == pytest.approx(
        {
            "inside_A_head": 0.5,  # frames 1 and 2: (2 + 3) / 10
            "inside_A_tail": 0.4,  # frame 3
            "inside_A_overall": 0.45,
            "inside_uniform_head": 0.5,
            "inside_uniform_tail": 0.25,
            "inside_uniform_overall": 0.375,
        }
    )


def test_all_weight_on_the_action_is_one_and_none_of_it_zero():
    one = video((1, 1.0, 1.5))
    weights = {"A": np.array([[0.0, 5.0, 0.0, 0.0]]), "R": np.array([[1.0, 0.0, 1.0, 1.0]])}
    found = inside_intervals(weights, TIMES, [one], GROUPS)
    assert (found["inside_A_medium"], found["inside_R_medium"]) == (1.0, 0.0)


def test_scale_does_not_matter():
    one = video((0, 0.0, 1.0))
    weights = np.array([[3.0, 1.0, 4.0, 1.0]])
    named = {"A": weights, "B": 1e3 * weights}
    found = inside_intervals(named, TIMES, [one], GROUPS)
    assert found["inside_A_overall"] == pytest.approx(found["inside_B_overall"])


def test_intervals_of_one_class_count_once_where_they_overlap():
    one = video((0, 0.0, 1.0), (0, 0.5, 2.0))
    assert frames_inside(TIMES[0], one, 0).tolist() == [True, True, True, False]
    found = inside_intervals({}, TIMES, [one], GROUPS)
    assert found["inside_uniform_overall"] == 0.75


def test_nothing_to_say_without_intervals_or_times():
    assert inside_intervals({"A": np.ones((1, 4))}, TIMES, [video()], GROUPS) == {}
    unknown = np.full((1, 4), np.nan)
    assert inside_intervals({"A": np.ones((1, 4))}, unknown, [video((0, 0, 9))], GROUPS) == {}
