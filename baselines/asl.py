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
    missing = torch.sigmoid(-logits)
    kept = shifted(missing, config)
    with torch.no_grad():
        of_positive, of_negative = focused_labels(labels, missing, kept, config)
    negative = of_negative * minus_log(kept, logits, config)
    return torch.addcmul(negative, of_positive, F.softplus(-logits))


def shifted(missing: Tensor, config: ASLConfig) -> Tensor:
    """1 - p with the margin, as a negative has it, min(1 - p + margin, 1), (B, C)."""
    return (missing + config.margin).clamp_max(1)


def minus_log(kept: Tensor, logits: Tensor, config: ASLConfig) -> Tensor:
    """Minus the logarithm of `shifted`, (B, C); without a margin 1 - p may be rounded to 0."""
    return -kept.log() if config.margin else F.softplus(logits)


def focused_labels(
    labels: Tensor, missing: Tensor, kept: Tensor, config: ASLConfig
) -> tuple[Tensor, Tensor]:
    """How much a positive's and a negative's term count, (B, C) each.

    The label times (1 - p)^gamma_pos, and 1 - label times max(p - margin, 0)^gamma_neg.

    Args:
        labels: (B, C) in [0, 1].
        missing: 1 - p, (B, C).
        kept: The same as `shifted`.
        config: Exponents.
    """
    of_positive = labels * missing**config.gamma_pos if config.gamma_pos else labels
    return of_positive, (1 - labels) * (1 - kept) ** config.gamma_neg
