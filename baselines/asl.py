"""ASL: easy negatives count for little, and very easy ones for nothing."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from meid_bench.methods.losses import reduced
from meid_bench.methods.method import (
    AggregatorMethod,
    Batch,
    Family,
    MethodConfig,
    Stage,
    require,
    searched,
)


@dataclass(frozen=True)
class ASLConfig(MethodConfig):
    """Settings of ASL.

    Attributes:
        gamma_pos: Focusing exponent of positives.
        gamma_neg: Of negatives.
        margin: m, by which a negative's probability is lowered.
        reduction: Over classes, the sum or the mean; over videos it is the mean.
    """

    gamma_pos: float = 0.0
    gamma_neg: float = searched(4.0, (2.0, 4.0))
    margin: float = 0.05
    reduction: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        require(self.gamma_pos >= 0, "gamma_pos", self.gamma_pos, "at least 0")
        require(self.gamma_neg >= 0, "gamma_neg", self.gamma_neg, "at least 0")
        require(0 <= self.margin < 1, "margin", self.margin, "in [0, 1)")


class ASL(AggregatorMethod):
    """Asymmetric loss: focusing on negatives alone, and a margin below which they are dropped.

    Reference:
        Ridnik et al., Asymmetric Loss for Multi-Label Classification (ICCV 2021);
        AsymmetricLoss (src/loss_functions/losses.py of github.com/Alibaba-MIIL/ASL at 8c9e0bd) with
        what its train.py gives it: focusing weights take no gradient, and gamma_pos is 0, where the
        class itself has 1 (preset "class").

    Differs:
        Summed over classes, and the mean over videos; that code's sum over the batch as well makes
        a step B times larger, which Adam undoes and the gradient clip does not. The logarithm of
        a positive's probability is exact; that code's, clamped at 1e-8, has no gradient below it. A
        label between 0 and 1 takes its share of either term.
    """

    Config: ClassVar[type[MethodConfig]] = ASLConfig
    presets = {"class": {"gamma_pos": 1.0}}  # noqa: RUF012
    family: ClassVar[Family] = "loss"
    venue: ClassVar[str] = "ICCV 2021"
    config: ASLConfig

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Sum over classes, mean over videos."""
        values = asymmetric_loss(self(batch.features).float(), batch.labels, self.config)
        return reduced(values, self.config.reduction)


def asymmetric_loss(logits: Tensor, labels: Tensor, config: ASLConfig) -> Tensor:
    """ASL per video and class, (B, C).

    Args:
        logits: (B, C).
        labels: (B, C) in [0, 1].
        config: Exponents and margin.
    """
    kept = shifted(logits, config.margin)
    with torch.no_grad():
        weights = focusing_weights(logits, kept, config)
    return focused(F.logsigmoid(logits), log_shifted(logits, kept, config), weights, labels)


def shifted(logits: Tensor, margin: float) -> Tensor:
    """A negative's probability with the margin, min(1 - p + margin, 1), (B, C)."""
    return (torch.sigmoid(-logits) + margin).clamp_max(1)


def log_shifted(logits: Tensor, kept: Tensor, config: ASLConfig) -> Tensor:
    """Logarithm of `shifted`, (B, C); without a margin below it, 1 - p may be rounded to 0."""
    return kept.log() if config.margin else F.logsigmoid(-logits)


def focusing_weights(logits: Tensor, kept: Tensor, config: ASLConfig) -> tuple[Tensor, Tensor]:
    """Of positives, (1 - p)^gamma_pos, and of negatives, max(p - margin, 0)^gamma_neg, (B, C)."""
    return torch.sigmoid(-logits) ** config.gamma_pos, (1 - kept) ** config.gamma_neg


def focused(
    positive: Tensor, negative: Tensor, weights: tuple[Tensor, Tensor], labels: Tensor
) -> Tensor:
    """Minus the weighted log-likelihood, (B, C).

    Args:
        positive: Log-likelihood where the label is 1, (B, C).
        negative: Where it is 0.
        weights: Of the two.
        labels: (B, C) in [0, 1]; one in between takes its share of either.
    """
    return -torch.lerp(negative * weights[1], positive * weights[0], labels)
