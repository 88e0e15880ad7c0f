"""Baselines against values worked out by hand or by another formula."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.cbloss import CBLoss
from baselines.cbs import CBS
from baselines.eql import EQL, equalization_weights
from baselines.framestack import FrameStack
from baselines.ldam import LDAM, class_margins, lower_positives
from baselines.mixup import Mixup, mixed
from baselines.plain import Plain
from baselines.srs import SRS
from meid_bench.errors import SettingError
from meid_bench.methods.aggregators import NeXtVLADConfig, NonlinearConfig, aggregator_maker
from meid_bench.methods.losses import effective_number_weights
from meid_bench.methods.method import Method, Stage
from meid_bench.methods.presets import preset_settings
from meid_bench.methods.settings import RunnerConfig, changed
from tests.small_methods import small_batch
from tests.toy import FRAMES, TASK

MAKE = aggregator_maker("nonlinear", NonlinearConfig(dropout=0.0), FRAMES)
STAGE = Stage("train", 100, 1e-3)


def build(kind: type[Method], **settings: Any) -> Method:
    torch.manual_seed(0)
    return kind(TASK, changed(kind.Config(), settings), MAKE)


def logits_of(method: Method, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = method(x)
    return logits


def cross_entropy(logits: Tensor, labels: Tensor) -> np.ndarray[Any, Any]:
    """-(y log p + (1 - y) log(1 - p)), (B, C), in double precision."""
    z, y = logits.double().numpy(), labels.double().numpy()
    return np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - z * y


def test_plain_is_mean_cross_entropy_or_focal() -> None:
    some = small_batch(seed=7)
    method = build(Plain)
    expected = cross_entropy(logits_of(method, some.features), some.labels)
    assert method.loss(some, STAGE, 0).item() == pytest.approx(expected.mean(), rel=1e-5)
    focal = build(Plain, loss="focal", gamma=2.0)
    expected = (1 - np.exp(-expected)) ** 2 * expected
    assert focal.loss(some, STAGE, 0).item() == pytest.approx(expected.mean(), rel=1e-5)


def test_ldam_margins() -> None:
    margins = class_margins((10_000, 625, 16, 1), max_margin=0.5)
    # n^(-1/4) = 0.1, 0.2, 0.5, 1, times 0.5: the rarest class has the largest margin.
    np.testing.assert_allclose(margins.numpy(), [0.05, 0.1, 0.25, 0.5], rtol=1e-6)


def test_ldam_lowers_positives_by_their_own_margin_or_by_the_sum() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    margins = torch.tensor([0.1, 0.2, 0.5])
    own = lower_positives(logits, labels, margins, "own")
    summed = lower_positives(logits, labels, margins, "summed")
    torch.testing.assert_close(own, torch.tensor([[0.9, 2.0, 2.5], [0.0, -0.2, 0.0]]))
    torch.testing.assert_close(summed, torch.tensor([[0.4, 2.0, 2.4], [0.0, -0.2, 0.0]]))


def test_ldam_takes_a_share_of_the_margin_for_a_mixed_label() -> None:
    lowered = lower_positives(torch.zeros(1, 2), torch.tensor([[0.25, 0.0]]), torch.ones(2), "own")
    assert lowered.tolist() == [[-0.25, 0.0]]


@pytest.mark.parametrize("margin", ["own", "summed"])
def test_ldam_before_and_after_re_weighting(margin: str) -> None:
    some = small_batch(seed=7)
    method = build(LDAM, margin=margin)
    z, y = logits_of(method, some.features).numpy(), some.labels.numpy()
    m = 0.5 * (np.array(TASK.counts) / min(TASK.counts)) ** -0.25
    assert m.max() == 0.5 and m.argmax() == 5
    lowered = np.where(y == 1, z - (m if margin == "own" else (y @ m)[:, None]), z)
    values = cross_entropy(torch.from_numpy(30 * lowered), some.labels)
    weights = effective_number_weights(TASK.counts, 0.9999).numpy()
    for epoch, scale in ((0, 1.0), (49, 1.0), (50, weights), (99, weights)):
        loss = method.loss(some, STAGE, epoch).item()
        assert loss == pytest.approx((values * scale).mean(), rel=1e-5), epoch


def test_ldam_goes_beyond_epoch_100() -> None:
    """A table of two betas by epoch // 50 fails there."""
    method, some = build(LDAM), small_batch(seed=7)
    assert method.loss(some, STAGE, 150).item() == method.loss(some, STAGE, 60).item()


def test_eql_at_gamma_0_is_plain_and_at_1_ignores_the_tails_negatives() -> None:
    some = small_batch(seed=7)
    values = cross_entropy(logits_of(build(EQL), some.features), some.labels)
    assert build(EQL, gamma=0.0).loss(some, STAGE, 0).item() == pytest.approx(
        values.mean(), rel=1e-5
    )
    kept = values.copy()
    kept[:, 4:][some.labels.numpy()[:, 4:] == 0] = 0
    assert kept.sum() < values.sum()
    assert build(EQL, gamma=1.0).loss(some, STAGE, 0).item() == pytest.approx(kept.mean(), rel=1e-5)


def test_eql_ignores_with_probability_gamma() -> None:
    labels, tail = torch.zeros(20_000, 2), torch.tensor([0.0, 1.0])
    chance = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0))
    weights = equalization_weights(labels, tail, chance, 0.9)
    assert (weights[:, 0] == 1).all()
    # Five standard deviations of a share of 20,000 at 0.1.
    assert weights[:, 1].mean().item() == pytest.approx(0.1, abs=5 * (0.09 / 20_000) ** 0.5)


def test_cb_loss_weighs_classes() -> None:
    some = small_batch(seed=7)
    method = build(CBLoss)
    values = cross_entropy(logits_of(method, some.features), some.labels)
    expected = (values * effective_number_weights(TASK.counts, 0.9999).numpy()).mean()
    assert method.loss(some, STAGE, 0).item() == pytest.approx(expected, rel=1e-5)


def test_cbs_masks_and_sums_where_the_preset_says_so() -> None:
    some = small_batch(picked=True, seed=7)
    default, preset = build(CBS), build(CBS, **CBS.presets["videolt"])
    values = cross_entropy(logits_of(default, some.features), some.labels)
    assert default.loss(some, STAGE, 0).item() == pytest.approx(values.mean(), rel=1e-5)
    y = some.labels.numpy()
    assert some.picked is not None
    one_hot = np.eye(6)[some.picked.numpy()]
    expected = (values * (1 - (y - one_hot))).sum(1).mean()
    assert preset.loss(some, STAGE, 0).item() == pytest.approx(expected, rel=1e-5)


def test_cbs_as_meids_authors_ran_it_multiplies_the_mean_by_what_the_mask_leaves() -> None:
    """Their mask comes after the mean: no positive is dropped, whichever class was drawn."""
    some = small_batch(picked=True, seed=7)
    assert some.picked is not None
    method = build(CBS, reduction="unmasked")
    values = cross_entropy(logits_of(method, some.features), some.labels)
    mask = 1 - (some.labels.numpy() - np.eye(6)[some.picked.numpy()])
    expected = (values.mean() * mask).sum(1).mean()  # their two lines
    assert method.loss(some, STAGE, 0).item() == pytest.approx(expected, rel=1e-5)


def test_eqls_tail_is_the_benchmarks_or_up_to_a_count() -> None:
    assert build(EQL).is_tail.tolist() == [0, 0, 0, 0, 1, 1]
    assert build(EQL, tail_max=18).is_tail.tolist() == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("kind", [Plain, LDAM, EQL, CBLoss, CBS, SRS, Mixup, FrameStack])
def test_the_authors_preset_is_charades_baseline_sh(kind: type[Method]) -> None:
    chosen = preset_settings(kind, "nextvlad", "authors")
    assert chosen.runner == RunnerConfig(batch=1024, with_replacement=True)
    assert chosen.aggregator == NeXtVLADConfig(form="meid")
    assert preset_settings(kind, "nonlinear", "authors").aggregator == NonlinearConfig()
    expected = {
        EQL: {"gamma": 1.76e-3, "tail_max": 100},
        LDAM: {"margin": "summed"},
        CBS: {"reduction": "unmasked"},
        SRS: {"reduction": "unmasked"},
        FrameStack: {"mean_over": "classes"},
    }
    assert chosen.method == kind.Config(lr=1e-4, **expected.get(kind, {}))


def test_samplers_of_cbs_and_srs() -> None:
    assert [stage.sampler for stage in build(CBS).stages()] == ["class_balanced"]
    assert [stage.sampler for stage in build(SRS).stages()] == ["square_root"]


def test_mixup_mixes_features_and_labels_with_one_weight() -> None:
    some = small_batch(seed=7)
    method = build(Mixup)
    loss = method.loss(some, STAGE, 0).item()
    generator = torch.Generator().manual_seed(7)  # the draws again, in the same order
    order = torch.randperm(len(some), generator=generator)
    own = torch.rand((), generator=generator)
    x, y = some.features, some.labels
    logits = logits_of(method, mixed(x, x[order], own))
    expected = F.binary_cross_entropy_with_logits(logits, own * y + (1 - own) * y[order])
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert 0.05 < own < 0.95 and not torch.equal(order, torch.arange(len(some)))


def test_mixed_by_hand() -> None:
    a, b = torch.tensor([4.0, 0.0]), torch.tensor([0.0, 8.0])
    assert mixed(a, b, torch.tensor(0.25)).tolist() == [1.0, 6.0]


@pytest.mark.parametrize("kind", [Plain, LDAM, EQL, CBLoss, CBS, SRS, Mixup])
def test_the_videolt_preset_has_that_codes_learning_rate(kind: type[Method]) -> None:
    assert kind.Config().lr == 1e-3
    assert build(kind, **kind.presets["videolt"]).config.lr == 1e-4


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        (EQL, {"gamma": 1.1}, "gamma is 1.1; it must be in"),
        (LDAM, {"scale": 0.0}, "scale is 0.0; it must be above 0"),
        (LDAM, {"beta": 1.0}, "beta is 1.0; it must be in"),
        (LDAM, {"reweight_epoch": -1}, "reweight_epoch is -1"),
        (CBLoss, {"beta": -0.1}, "beta is -0.1"),
        (Plain, {"gamma": -1.0}, "gamma is -1.0"),
        (CBS, {"reduction": "max"}, "reduction"),
    ],
)
def test_settings_out_of_range_are_refused(
    kind: type[Method], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingError, match=sentence):
        build(kind, **settings)
