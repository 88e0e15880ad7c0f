"""Shared losses against values computed by hand and by other formulas."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from meid_bench.methods.losses import effective_number_weights, focal_loss, picked_mask, reduced

LOGITS = torch.tensor([[0.0, 2.0, -3.0], [1.5, -0.5, 40.0]], dtype=torch.float64)
LABELS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_focal_loss_is_its_definition(gamma: float) -> None:
    """Lin et al., eq. 4: -(1 - p_t)^gamma log p_t, with p_t the probability of the label."""
    p = 1 / (1 + np.exp(-LOGITS.numpy()))
    p_t = np.where(LABELS.numpy() == 1, p, 1 - p)
    expected = -((1 - p_t) ** gamma) * np.log(p_t)
    np.testing.assert_allclose(focal_loss(LOGITS, LABELS, gamma).numpy(), expected, atol=1e-12)


def test_focal_loss_by_hand() -> None:
    half = torch.zeros(1, 1), torch.ones(1, 1)
    assert focal_loss(*half, 0.0).item() == pytest.approx(math.log(2))
    assert focal_loss(*half, 1.0).item() == pytest.approx(math.log(2) / 2)
    assert focal_loss(*half, 2.0).item() == pytest.approx(math.log(2) / 4)


def test_focal_loss_at_gamma_0_is_cross_entropy_for_soft_labels_too() -> None:
    soft = LABELS * 0.7 + 0.1
    expected = F.binary_cross_entropy_with_logits(LOGITS, soft, reduction="none")
    assert torch.equal(focal_loss(LOGITS, soft, 0.0), expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_has_a_gradient_at_saturated_logits(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0, 200.0, -200.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([[1.0, 0.0, 0.0, 1.0]]), gamma).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_effective_number_weights_sum_to_c_and_follow_the_formula() -> None:
    counts, beta = (1417, 100, 21, 20, 1), 0.9999
    weights = effective_number_weights(counts, beta)
    assert weights.sum().item() == pytest.approx(len(counts), rel=1e-6)
    raw = [1 / sum(beta**k for k in range(n)) for n in counts]  # 1 / E_n, the geometric sum
    expected = [value * len(counts) / sum(raw) for value in raw]
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)


def test_effective_number_weights_at_the_ends() -> None:
    assert torch.equal(effective_number_weights((5, 50, 500), 0.0), torch.ones(3))
    # Towards beta 1 the effective number is the number.
    nearly = effective_number_weights((10, 20), 1 - 1e-9)
    assert (nearly[0] / nearly[1]).item() == pytest.approx(2, rel=1e-5)


def test_a_class_without_videos_weighs_as_one_with_one() -> None:
    weights = effective_number_weights((0, 1, 10), 0.9999)
    assert weights.isfinite().all() and weights[0] == weights[1]


def test_picked_mask_drops_other_positives_alone() -> None:
    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    mask = picked_mask(labels, torch.tensor([0, 1]))
    assert mask.tolist() == [[1, 0, 1], [1, 1, 1]]


def test_reductions() -> None:
    values = torch.arange(6.0).view(2, 3)
    assert reduced(values, "mean").item() == 2.5
    assert reduced(values, "sum").item() == 7.5
