"""Mixup: train on weighted sums of two videos' frames and labels."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.presets import AUTHORS
from meid_bench.methods.method import AggregatorMethod, Batch, Family, Stage


class Mixup(AggregatorMethod):
    """Features and labels of two videos, mixed with one random weight a batch.

    Reference:
        Zhang et al., mixup: Beyond Empirical Risk Minimization (ICLR 2018), alpha 1; VideoLT's
        mixup (ops/Augment.py and base_main.py at 1732d5c).
    """

    presets = {  # noqa: RUF012
        "videolt": {"lr": 1e-4},
        "authors": AUTHORS,
    }
    family: ClassVar[Family] = "augmentation"
    venue: ClassVar[str] = "ICLR 2018"

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Binary cross-entropy of the mixed videos against the mixed labels."""
        partner = batch.shuffled()
        # Beta(1, 1) is the uniform distribution.
        own = torch.rand((), generator=batch.generator, device=batch.features.device)
        features = mixed(batch.features, partner.features, own)
        labels = mixed(batch.labels, partner.labels, own)
        return F.binary_cross_entropy_with_logits(self(features), labels)


def mixed(own: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """Weight * own + (1 - weight) * other."""
    return own * weight + other * (1 - weight)
