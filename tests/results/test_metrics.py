"""AP against scikit-learn over a grid, Acc@k against loops, means, and what is refused."""

import doctest
from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from meid_bench.benchmark.longtail import Bins
from meid_bench.results import metrics
from meid_bench.results.metrics import average_precision, chance, evaluate_scores, group_means, hits

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


def test_several_threads_change_no_bit(monkeypatch):
    scores, labels = made(2000, 200, 2, 0.02)
    labels[:, 7] = 0
    alone = average_precision(scores, labels)
    monkeypatch.setattr(metrics, "SERIAL_SIZE", 0)
    monkeypatch.setattr(metrics, "cores", lambda: 3)
    np.testing.assert_array_equal(average_precision(scores, labels), alone)
    assert np.isnan(alone[7])
    np.testing.assert_allclose(alone, independent(scores, labels), rtol=0, atol=1e-14)


def test_minus_zero_is_zero():
    scores, labels = made(3000, 6, 6, 0.02)
    scores = np.where(scores < 0.7, -0.0, 0.0).astype(np.float32)
    found = average_precision(scores, labels)
    np.testing.assert_allclose(found, independent(scores, labels), rtol=0, atol=1e-14)


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


def test_chance_is_the_mean_over_every_ranking():
    labels = np.array([[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0]])
    expected = np.mean(
        [
            average_precision(np.array([order] * 4).T / 5, labels)
            for order in permutations(range(5))
        ],
        axis=0,
    )
    found = chance(labels, GROUPS)
    assert found["head"] == pytest.approx(expected[:2].mean(), abs=1e-15)
    assert found["medium"] == expected[2] == 1
    assert found["tail"] is None
    assert chance(labels[:1], GROUPS)["overall"] == 1


def test_chance_is_what_random_scores_give():
    rng = np.random.default_rng(0)
    _, labels = made(300, 20, 1, 0.03)
    labels[:, 3] = 0
    random = [evaluate_scores(rng.random(labels.shape), labels, GROUPS) for _ in range(200)]
    found = chance(labels, GROUPS)
    for name in ("overall", "acc1", "acc5"):
        drawn = [getattr(metrics, name) for metrics in random]
        error = np.std(drawn) / len(drawn) ** 0.5
        assert found[name] == pytest.approx(np.mean(drawn), abs=4 * error)
    prevalence = labels.mean(axis=0)
    assert found["overall"] > 1.1 * prevalence[prevalence > 0].mean()


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


def hit_by_loop(scores, labels, k):
    """Every order of the classes in turn, a stable sort by score, and a look at the first k."""
    result = []
    for row, true in zip(scores, labels, strict=True):
        orders = list(permutations(range(len(row))))
        found = 0
        for order in orders:
            ranked = sorted(order, key=lambda c: -row[c])
            found += any(true[c] for c in ranked[:k])
        result.append(found / len(orders))
    return result


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("decimals", [0, 1, 6], ids=["all-tied", "ties", "no-ties"])
def test_hits_are_the_mean_over_every_order_of_tied_classes(k, decimals):
    scores, labels = made(12, 6, decimals, 0.3, seed=k)
    labels[:, 0] |= ~labels.any(axis=1)
    found = hits(scores, labels, k)
    np.testing.assert_allclose(found, hit_by_loop(scores, labels, k), rtol=0, atol=1e-12)
    order = np.random.default_rng(0).permutation(6)
    np.testing.assert_array_equal(hits(scores[:, order], labels[:, order], k), found)
    np.testing.assert_array_equal(hits(scores[::-1], labels[::-1], k), found[::-1])


@pytest.mark.parametrize("k", [1, 5])
def test_accuracy_without_ties_is_what_videolt_prints(k):
    """As its `accuracy` does it: torch.topk in batches, a percentage each, weighted by size."""
    scores, labels = made(300, 40, 9, 0.05)
    labels[np.arange(300), np.arange(300) % 40] = 1
    total = 0.0
    for batch in torch.arange(300).split(64):
        top = torch.from_numpy(scores)[batch].topk(k, dim=1).indices
        right = torch.from_numpy(labels)[batch].gather(1, top).any(dim=1)
        total += 100.0 * int(right.sum()) / len(batch) * len(batch)
    assert 100 * hits(scores, labels, k).mean() == pytest.approx(total / 300, abs=1e-9)


def test_saturated_probabilities_are_neither_all_right_nor_all_wrong():
    logits = np.array([[40.0, 39.0, 38.0, 1.0]])
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)  # three times 1.0
    assert hits(scores, np.array([[0, 1, 0, 0]]), 1)[0] == pytest.approx(1 / 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_hits_in_blocks_are_the_same(dtype, monkeypatch):
    scores, labels = made(50, 20, 1, 0.1)
    scores = scores.astype(dtype)
    whole = hits(scores, labels, 5)
    monkeypatch.setattr(metrics, "SERIAL_SIZE", 60)
    np.testing.assert_array_equal(hits(scores, labels, 5), whole)


def test_a_video_without_labels_is_in_no_accuracy():
    scores = np.array([[0.9, 0.1, 0.2, 0.3, 0.4], [0.9, 0.1, 0.2, 0.3, 0.4]])
    labels = np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    assert np.isnan(hits(scores, labels, 1)[1])
    assert evaluate_scores(scores, labels, GROUPS).acc1 == 1


def test_fewer_than_five_classes_have_no_acc5():
    scores, labels = made(30, 4, 6, 0.4)
    found = evaluate_scores(scores, labels, GROUPS)
    assert found.acc5 is None
    assert 0 < found.acc1 < 1
    assert chance(labels, GROUPS)["acc5"] is None


def test_views_are_scored_apart():
    scores, labels = made(60, 4, 2, 0.4)
    views = ["first", "third", None] * 20
    found = evaluate_scores(scores, labels, GROUPS, views)
    assert list(found.views) == ["first", "third"]
    rows = np.arange(60) % 3 == 1
    assert found.views["third"]["head"] == pytest.approx(
        np.nanmean(independent(scores[rows], labels[rows])[:2])
    )
    assert found.views["third"]["acc1"] == np.nanmean(hits(scores[rows], labels[rows], 1))


def test_nothing_to_find_is_refused():
    with pytest.raises(ValueError, match="none of the 4 classes"):
        evaluate_scores(np.zeros((5, 4)), np.zeros((5, 4)), GROUPS)


def test_examples_in_the_documentation_hold():
    assert doctest.testmod(metrics).failed == 0
