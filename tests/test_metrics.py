"""AP against scikit-learn over a grid, means over groups, and what is refused."""

import doctest

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from meid_bench import metrics
from meid_bench.longtail import Bins
from meid_bench.metrics import average_precision, chance, evaluate_scores, group_means

GROUPS = {"head": np.array([0, 1]), "medium": np.array([2]), "tail": np.array([3])}


def independent(scores, labels):
    return np.array(
        [
            average_precision_score(labels[:, c], scores[:, c]) if labels[:, c].any() else np.nan
            for c in range(labels.shape[1])
        ]
    )


def made(videos, classes, decimals, prevalence, seed=0):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random((videos, classes)), decimals)
    return scores, (rng.random((videos, classes)) < prevalence).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("decimals", [0, 1, 6], ids=["all-tied", "ties", "no-ties"])
@pytest.mark.parametrize("prevalence", [0.01, 0.3, 1.0])
def test_equals_scikit_learn(dtype, decimals, prevalence):
    scores, labels = made(200, 30, decimals, prevalence)
    scores = scores.astype(dtype)
    expected = independent(scores.astype(np.float64), labels)
    np.testing.assert_allclose(average_precision(scores, labels), expected, rtol=0, atol=1e-14)


def test_equals_scikit_learn_at_2000_by_200_with_ties_on_several_threads(monkeypatch):
    scores, labels = made(2000, 200, 2, 0.02)
    labels[:, 7] = 0
    monkeypatch.setattr(metrics, "SERIAL_SIZE", 0)
    monkeypatch.setattr(metrics, "cores", lambda: 3)
    ap = average_precision(scores, labels)
    assert np.isnan(ap[7])
    np.testing.assert_allclose(ap, independent(scores, labels), rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["uniform", "peaked", "tied", "ends", "minus zero"])
def test_scores_of_every_kind_equal_the_definition(kind):
    rng = np.random.default_rng(3)
    scores = rng.random((3000, 6))
    if kind == "peaked":
        scores = 1 / (1 + np.exp(-(rng.normal(size=scores.shape) * 3 - 6)))
    if kind == "tied":
        scores = np.round(scores, 2)
    if kind == "ends":
        scores = np.round(scores)
    if kind == "minus zero":
        scores = np.where(scores < 0.7, -0.0, 0.0)
    scores = scores.astype(np.float32)
    labels = (rng.random(scores.shape) < 0.02).astype(np.uint8)
    found = average_precision(scores, labels)
    np.testing.assert_allclose(found, independent(scores, labels), rtol=0, atol=1e-14)


def test_threads_change_no_bit(monkeypatch):
    scores, labels = made(500, 50, 3, 0.1)
    alone = average_precision(scores, labels)
    monkeypatch.setattr(metrics, "SERIAL_SIZE", 0)
    np.testing.assert_array_equal(average_precision(scores, labels), alone)


def test_order_of_videos_does_not_matter():
    scores, labels = made(100, 10, 1, 0.2)
    order = np.random.default_rng(1).permutation(100)
    np.testing.assert_array_equal(
        average_precision(scores, labels), average_precision(scores[order], labels[order])
    )


def test_inputs_are_left_as_they_were():
    scores, labels = made(50, 1, 2, 0.5)
    scores = np.asfortranarray(scores)
    before = scores.copy()
    average_precision(scores, labels)
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("rank", range(5))
def test_single_positive_is_one_over_its_rank(rank):
    scores = np.linspace(1, 0, 5)[:, None]
    labels = np.zeros((5, 1))
    labels[rank] = 1
    assert average_precision(scores, labels)[0] == 1 / (rank + 1)


def test_constant_score_is_chance():
    _, labels = made(300, 20, 1, 0.02)
    labels[:, 3] = 0
    constant = np.full(labels.shape, 0.5)
    np.testing.assert_allclose(average_precision(constant, labels), chance(labels))
    assert np.isnan(chance(labels)[3])


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([[0.5, np.nan]], [[0, 1]], r"not nan \(video 0, class 1\)"),
        ([[0.5], [1.5]], [[0], [1]], r"not 1.5 \(video 1, class 0\)"),
        ([[-0.1]], [[1]], "not -0.1"),
        ([[np.inf]], [[1]], "not inf"),
        ([[0.5]], [[2]], "labels must be 0 or 1, not 2"),
        ([[0.5, 0.5]], [[1]], r"\(1, 2\) and \(1, 1\)"),
        ([0.5], [1], "one shape"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "nothing to score"),
        (np.zeros((2, 1), np.int64), [[1], [0]], "must be floats"),
    ],
)
def test_what_is_no_probability_is_refused(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        average_precision(np.array(scores), np.array(labels))


def test_group_means_leave_out_classes_without_positives():
    ap = np.array([0.5, np.nan, 0.2, np.nan])
    means = group_means(ap, GROUPS)
    assert means["head"] == 0.5
    assert means["overall"] == pytest.approx(0.35)
    assert np.isnan(means["tail"])


def test_groups_change_at_20_21_and_100_101():
    groups = Bins(20, 100).groups(np.array([1, 20, 21, 100, 101]))
    ap = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    assert group_means(ap, groups) == pytest.approx(
        {"overall": 0.5, "head": 0.9, "medium": 0.6, "tail": 0.2}
    )


def test_evaluate_scores_counts_and_keeps_none():
    scores, labels = made(60, 4, 2, 0.4)
    labels[:, 3] = 0
    found = evaluate_scores(scores, labels, GROUPS)
    assert found.classes_without_positives == 1
    assert found.per_class_ap[3] is None
    assert found.tail is None
    assert found.overall == pytest.approx(np.mean(found.per_class_ap[:3]))
    assert found.views == {}


def test_views_are_scored_apart():
    scores, labels = made(60, 4, 2, 0.4)
    views = ["first", "third", None] * 20
    found = evaluate_scores(scores, labels, GROUPS, views)
    assert list(found.views) == ["first", "third"]
    rows = np.arange(60) % 3 == 1
    assert found.views["third"]["head"] == pytest.approx(
        np.nanmean(independent(scores[rows], labels[rows])[:2])
    )


def test_nothing_to_find_is_refused():
    with pytest.raises(ValueError, match="none of the 4 classes"):
        evaluate_scores(np.zeros((5, 4)), np.zeros((5, 4)), GROUPS)


def test_examples_in_the_documentation_hold():
    assert doctest.testmod(metrics).failed == 0
