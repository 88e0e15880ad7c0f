"""The fast bootstrap against a slow direct one."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from meid_bench.results import bootstrap
from meid_bench.results.bootstrap import (
    draw_weights,
    dropped_classes,
    resample,
    resampled_means,
    weighted_ap,
)

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
    weights = draw_weights(clusters, 20, seed=clusters)
    for each in (scores, 1 - scores):
        found = weighted_ap(each, labels, cluster, weights)
        for row, weight in enumerate(weights):
            s, y = repeat_videos(each, labels, cluster, weight)
            for c in range(4):
                if y[:, c].any():
                    expected = average_precision_score(y[:, c], s[:, c])
                    assert found[row, c] == pytest.approx(expected, abs=1e-6)
                else:
                    assert np.isnan(found[row, c])


def test_weights_are_draws_with_replacement():
    weights = draw_weights(7, 5000)
    assert (weights.sum(axis=1) == 7).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.05)
    np.testing.assert_allclose(weights.var(axis=0), 6 / 7, atol=0.06)


def test_more_resamples_begin_with_the_fewer():
    for clusters in (5, 139, 1000):
        np.testing.assert_array_equal(
            draw_weights(clusters, 30)[:7], draw_weights(clusters, 7), strict=True
        )


def slow_bootstrap(scores, labels, cluster, resamples, rng):
    """Straight from the definition: draw, repeat, scikit-learn, mean over what is defined."""
    drawn = {name: [] for name in scores}
    for _ in range(resamples):
        chosen = rng.integers(0, cluster.max() + 1, cluster.max() + 1)
        rows = np.concatenate([np.flatnonzero(cluster == g) for g in chosen])
        for name, of_seeds in scores.items():
            means = []
            for each in of_seeds:
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
    scores = {"a": [first], "b": [noisy(labels, rng, 0.7)]}
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


def test_a_method_is_resampled_the_same_whatever_stands_beside_it():
    rng = np.random.default_rng(0)
    first, labels, cluster = made(80, 10, rng)
    scores = {"a": [first], "b": [noisy(labels, rng, 0.5)]}
    both = resample(scores, labels, cluster, GROUPS, 50)
    turned = resample(dict(reversed(scores.items())), labels, cluster, GROUPS, 50)
    for name in scores:
        np.testing.assert_array_equal(both.means[name], turned.means[name])
        np.testing.assert_array_equal(both.runs[name], turned.runs[name])


def test_classes_without_positives_are_dropped_for_all_and_counted():
    rng = np.random.default_rng(0)
    scores, labels, cluster = made(60, 6, rng)
    labels[:, 3] = 0
    labels[cluster == 2, 3] = 1  # one subject alone shows class 3
    drawn = resample({"a": [scores], "b": [1 - scores]}, labels, cluster, GROUPS, 4000)
    left_out = np.isnan(drawn.means["a"][:, 3])
    np.testing.assert_array_equal(left_out, np.isnan(drawn.means["b"][:, 3]))
    dropped = dropped_classes(labels, cluster, GROUPS, draw_weights(6, 4000))
    assert dropped["tail"] == pytest.approx(left_out.mean())
    assert dropped["tail"] == pytest.approx((5 / 6) ** 6, abs=0.03)
    labels[:, 0] = 0  # without positives at all: nothing that a resample could lose
    assert dropped_classes(labels, cluster, GROUPS, draw_weights(6, 40))["head"] == 0
    assert not np.isnan(drawn.means["a"][:, 0]).any()


def test_resampling_in_parts_changes_nothing_but_memory(monkeypatch):
    rng = np.random.default_rng(0)
    scores, labels, cluster = made(60, 10, rng)
    weights = draw_weights(10, 64)
    whole = resampled_means(scores, labels, cluster, GROUPS, weights)
    monkeypatch.setattr(bootstrap, "HELD", 16 * 4)
    np.testing.assert_allclose(
        resampled_means(scores, labels, cluster, GROUPS, weights), whole, rtol=1e-6
    )
