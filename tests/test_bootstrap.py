"""The fast bootstrap against a slow direct one, its intervals' coverage, and Holm's correction."""

import doctest

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from meid_bench.board import bootstrap
from meid_bench.board.bootstrap import draw_weights, holm, intervals, resample, weighted_ap

GROUPS = {"head": np.array([0, 1]), "medium": np.array([2]), "tail": np.array([3])}


def made(videos, clusters, rng, skill=1.0, decimals=2):
    labels = (rng.random((videos, 4)) < [0.5, 0.4, 0.2, 0.08]).astype(np.uint8)
    cluster = np.concatenate([np.arange(clusters), rng.integers(0, clusters, videos - clusters)])
    return noisy(labels, rng, skill, decimals), labels, cluster


def noisy(labels, rng, skill, decimals=8):
    logits = rng.normal(size=labels.shape) + skill * labels
    return np.round(1 / (1 + np.exp(-logits)), decimals).astype(np.float32)


def repeat_videos(scores, labels, cluster, weight):
    """The resample as a data set: every video as often as its cluster was drawn."""
    rows = np.repeat(np.arange(len(cluster)), weight[cluster].astype(int))
    return scores[rows], labels[rows]


@pytest.mark.parametrize("block", [1, 1 << 23], ids=["one class a block", "one block"])
@pytest.mark.parametrize("clusters", [2, 9, 60], ids=["two", "some", "each video alone"])
def test_weighted_ap_is_the_ap_of_repeated_videos(clusters, block, monkeypatch):
    monkeypatch.setattr(bootstrap, "BLOCK", block)
    rng = np.random.default_rng(clusters)
    scores, labels, cluster = made(60, clusters, rng)
    cluster = rng.permutation(clusters)[cluster]
    weights = draw_weights(clusters, 20, rng)
    found = weighted_ap([scores, 1 - scores], labels, cluster, weights)
    for k, each in enumerate([scores, 1 - scores]):
        for row, weight in enumerate(weights):
            s, y = repeat_videos(each, labels, cluster, weight)
            for c in range(4):
                if y[:, c].any():
                    expected = average_precision_score(y[:, c], s[:, c])
                    assert found[k, row, c] == pytest.approx(expected, abs=1e-6)
                else:
                    assert np.isnan(found[k, row, c])


def test_weights_are_draws_with_replacement():
    weights = draw_weights(7, 5000, np.random.default_rng(0))
    assert (weights.sum(axis=1) == 7).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.05)
    np.testing.assert_allclose(weights.var(axis=0), 6 / 7, atol=0.06)


def slow_bootstrap(scores, labels, cluster, resamples, rng):
    """Straight from the definition: draw, repeat, scikit-learn, mean over what is defined."""
    drawn = {name: [] for name in scores}
    for _ in range(resamples):
        chosen = rng.integers(0, cluster.max() + 1, cluster.max() + 1)
        rows = np.concatenate([np.flatnonzero(cluster == g) for g in chosen])
        for name, of_seeds in scores.items():
            picked = rng.integers(0, len(of_seeds), len(of_seeds))
            means = []
            for each in (of_seeds[i] for i in picked):
                ap = [
                    average_precision_score(labels[rows, c], each[rows, c])
                    for c in range(labels.shape[1])
                    if labels[rows, c].any()
                ]
                means.append(np.mean(ap))
            drawn[name].append(np.mean(means))
    return {name: np.array(values) for name, values in drawn.items()}


def test_equals_a_slow_direct_bootstrap_in_distribution():
    rng = np.random.default_rng(5)
    first, labels, cluster = made(120, 15, rng)
    scores = {
        "a": [first, noisy(labels, rng, 1.0)],
        "b": [noisy(labels, rng, 0.7), noisy(labels, rng, 0.7), noisy(labels, rng, 0.7)],
    }
    fast = resample(scores, labels, cluster, GROUPS, 8000, seed=1)
    slow = slow_bootstrap(scores, labels, cluster, 400, rng)
    fast_difference = fast.means["a"][:, 0] - fast.means["b"][:, 0]
    slow_difference = slow["a"] - slow["b"]
    scatter = slow_difference.std()
    assert fast_difference.mean() == pytest.approx(slow_difference.mean(), abs=0.15 * scatter)
    assert fast_difference.std() == pytest.approx(scatter, rel=0.1)
    for level in (0.05, 0.95):
        expected = np.quantile(slow_difference, level)
        assert np.quantile(fast_difference, level) == pytest.approx(expected, abs=0.25 * scatter)


def test_interval_is_the_basic_one():
    rng = np.random.default_rng(0)
    first, labels, cluster = made(80, 10, rng)
    scores = {"a": [first], "b": [noisy(labels, rng, 0.5)]}
    drawn = resample(scores, labels, cluster, GROUPS, 500)
    found = intervals(drawn, "a", "b")["overall"]
    difference = drawn.full["a"][0] - drawn.full["b"][0]
    resampled = drawn.means["a"][:, 0] - drawn.means["b"][:, 0]
    low, high = 2 * difference - np.quantile(resampled, [0.975, 0.025])
    assert (found.difference, found.low, found.high) == pytest.approx((difference, low, high))


def test_difference_turns_its_sign_and_interval_with_the_order():
    rng = np.random.default_rng(0)
    first, labels, cluster = made(80, 10, rng)
    drawn = resample({"a": [first], "b": [noisy(labels, rng, 0.5)]}, labels, cluster, GROUPS, 500)
    there, back = (intervals(drawn, *pair)["tail"] for pair in (("a", "b"), ("b", "a")))
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p == back.p


def test_p_value_agrees_with_the_interval():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        first, labels, cluster = made(100, 12, rng)
        scores = {"a": [first], "b": [noisy(labels, rng, 0.4)]}
        found = intervals(resample(scores, labels, cluster, GROUPS, 999), "a", "b")
        for interval in found.values():
            inside = interval.low <= 0 <= interval.high
            if abs(interval.p - 0.05) > 0.005:
                assert inside == (interval.p > 0.05)


def test_equal_methods_do_not_differ_at_all():
    rng = np.random.default_rng(0)
    first, labels, cluster = made(60, 10, rng)
    found = intervals(
        resample({"a": [first], "b": [first]}, labels, cluster, GROUPS, 200), "a", "b"
    )
    assert all((i.low, i.high, i.p) == (0, 0, 1) for i in found.values())


def test_classes_without_positives_are_dropped_for_all_and_counted():
    rng = np.random.default_rng(0)
    scores, labels, cluster = made(60, 6, rng)
    labels[:, 3] = 0
    labels[cluster == 2, 3] = 1  # one subject alone shows class 3
    drawn = resample({"a": [scores], "b": [1 - scores]}, labels, cluster, GROUPS, 4000)
    left_out = np.isnan(drawn.means["a"][:, 3])
    np.testing.assert_array_equal(left_out, np.isnan(drawn.means["b"][:, 3]))
    assert drawn.dropped["tail"] == left_out.mean()
    assert drawn.dropped["tail"] == pytest.approx((5 / 6) ** 6, abs=0.03)
    assert not np.isnan(drawn.means["a"][:, 0]).any()
    tail = intervals(drawn, "a", "b")["tail"]
    assert np.isfinite([tail.low, tail.high]).all()


def test_seeds_are_resampled():
    rng = np.random.default_rng(0)
    _, labels, cluster = made(200, 40, rng)
    unequal = [noisy(labels, rng, skill) for skill in (0.0, 1.5, 3.0)]
    alone = resample({"a": [unequal[1]]}, labels, cluster, GROUPS, 1000)
    three = resample({"a": unequal}, labels, cluster, GROUPS, 1000)
    assert three.means["a"][:, 0].std() > 2 * alone.means["a"][:, 0].std()


def test_resampling_in_parts_changes_nothing_but_memory(monkeypatch):
    rng = np.random.default_rng(0)
    scores, labels, cluster = made(60, 10, rng)
    whole = resample({"a": [scores]}, labels, cluster, GROUPS, 64)
    monkeypatch.setattr(bootstrap, "HELD", 16 * 10)
    parts = resample({"a": [scores]}, labels, cluster, GROUPS, 64)
    assert parts.means["a"].shape == whole.means["a"].shape
    assert parts.means["a"].mean(axis=0) == pytest.approx(whole.means["a"].mean(axis=0), abs=0.05)


def test_coverage_on_simulated_data_with_a_known_answer():
    """Two methods of one quality, clusters that share their difficulty: the truth is zero.

    Of 95 % intervals 95 % should hold the truth; from 40 clusters some percent less do. Intervals
    that took the videos of a cluster for independent would hold it clearly less often.
    """
    rng = np.random.default_rng(7)
    covered = {"clusters": 0, "videos": 0}
    trials = 150
    for _ in range(trials):
        cluster = np.repeat(np.arange(40), 5)
        labels = (rng.random((200, 4)) < [0.4, 0.4, 0.3, 0.3]).astype(np.uint8)
        scores = {}
        for name in ("a", "b"):
            # Each method has subjects it likes: one shift a subject, class and label.
            shift = rng.normal(size=(40, 4)) * 1.2
            logits = labels * (1 + shift[cluster]) + 0.5 * rng.normal(size=labels.shape)
            scores[name] = [(1 / (1 + np.exp(-logits))).astype(np.float32)]
        for kind, of_video in (("clusters", cluster), ("videos", np.arange(200))):
            drawn = resample(scores, labels, of_video, GROUPS, 300, seed=3)
            interval = intervals(drawn, "a", "b")["overall"]
            covered[kind] += interval.low <= 0 <= interval.high
    assert 0.90 <= covered["clusters"] / trials <= 0.99
    assert covered["videos"] < covered["clusters"] - 0.05 * trials


def test_power_finds_a_real_difference():
    rng = np.random.default_rng(3)
    _, labels, cluster = made(300, 50, rng)
    scores = {"good": [noisy(labels, rng, 2.0)], "poor": [noisy(labels, rng, 0.5)]}
    interval = intervals(resample(scores, labels, cluster, GROUPS, 1000), "good", "poor")["overall"]
    assert interval.low > 0
    assert interval.p == pytest.approx(2 / 1001)


def test_holm_never_lowers_and_keeps_the_order():
    adjusted = holm({"a": 0.001, "b": 0.02, "c": 0.02, "d": 0.9})
    assert adjusted == pytest.approx({"a": 0.004, "b": 0.06, "c": 0.06, "d": 0.9})
    assert holm({}) == {}


def test_examples_in_the_documentation_hold():
    assert doctest.testmod(bootstrap).failed == 0
