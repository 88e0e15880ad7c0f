"""APL: ASL with other first coefficients in the Taylor series of a positive's logarithm."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.asl import ASL, ASLConfig, focused_labels, minus_log, shifted
from meid_bench.methods.losses import reduced
from meid_bench.methods.method import Batch, MethodConfig, Stage


@dataclass(frozen=True)
class APLConfig(ASLConfig):
    """Settings of APL.

    Attributes:
        epsilon1: Added to the coefficient of 1 - p, which is -1.
        epsilon2: Added to the coefficient of (1 - p)^2 / 2, which is -1.
    """

    epsilon1: float = 1.0
    epsilon2: float = -2.5


class APL(ASL):
    """Asymmetric polynomial loss: ASL whose positives pull more half learnt, and less once learnt.

    Reference:
        Huang et al., Asymmetric Polynomial Loss for Multi-Label Classification (ICASSP 2023);
        APLLoss (APLloss.py of github.com/LUMIA-Group/APL at d0d1a25), whose coefficients these are.
        The paper chooses them anew for each data set.

    Differs:
        As ASL. The coefficient of negatives, 0 there, is left out.
    """

    Config: ClassVar[type[MethodConfig]] = APLConfig
    presets = {}  # noqa: RUF012
    venue: ClassVar[str] = "ICASSP 2023"
    config: APLConfig

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Sum over classes, mean over videos."""
        values = polynomial_loss(self(batch.features).float(), batch.labels, self.config)
        return reduced(values, self.config.reduction)


def polynomial_loss(logits: Tensor, labels: Tensor, config: APLConfig) -> Tensor:
    """APL per video and class, (B, C).

    Args:
        logits: (B, C).
        labels: (B, C) in [0, 1].
        config: Exponents, margin and coefficients.
    """
    missing = torch.sigmoid(-logits)
    kept = shifted(missing, config)
    with torch.no_grad():
        of_positive, of_negative = focused_labels(labels, missing, kept, config)
    negative = of_negative * minus_log(kept, logits, config)
    return torch.addcmul(negative, of_positive, polynomial(logits, missing, config))


def polynomial(logits: Tensor, missing: Tensor, config: APLConfig) -> Tensor:
    """A positive's -log p - epsilon1 (1 - p) - epsilon2 / 2 (1 - p)^2, (B, C)."""
    return F.softplus(-logits) - missing * (config.epsilon1 + config.epsilon2 / 2 * missing)
