"""RAL: APL whose negatives lose weight again where they look like positives."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.apl import APL, APLConfig, polynomial
from baselines.asl import focused_labels, minus_log, shifted
from meid_bench.methods.losses import reduced
from meid_bench.methods.method import Batch, MethodConfig, Stage, require


@dataclass(frozen=True)
class RALConfig(APLConfig):
    """Settings of RAL.

    Attributes:
        hill: lambda, from which a negative's probabilities are taken away.
    """

    hill: float = 1.5

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        require(self.hill >= 1, "hill", self.hill, "at least 1")
        for name in ("gamma_pos", "gamma_neg"):
            gamma = getattr(self, name)  # between 0 and 1 the weight's own slope is infinite at 0
            require(gamma == 0 or gamma >= 1, name, gamma, "0, or at least 1")


class RAL(APL):
    """Robust asymmetric loss: APL with a hill-shaped weight on negatives, which may be mislabelled.

    Reference:
        Park et al., Robust Asymmetric Loss for Multi-Label Long-Tailed Learning (ICCVW 2023);
        Ralloss (models/get_optimizer.py of github.com/kalelpark/RAL at 0d7e771) as its
        make_loss_optimizer builds it: unlike ASL's, focusing weights take a gradient.

    Differs:
        As APL. That code's hill is (lambda - p) p^2 times (lambda - q) with q = min(1 - p + m, 1),
        and that is what this is; its own margin is read nowhere.
    """

    Config: ClassVar[type[MethodConfig]] = RALConfig
    venue: ClassVar[str] = "ICCVW 2023"
    config: RALConfig

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Sum over classes, mean over videos."""
        values = robust_loss(self(batch.features).float(), batch.labels, self.config)
        return reduced(values, self.config.reduction)


def robust_loss(logits: Tensor, labels: Tensor, config: RALConfig) -> Tensor:
    """RAL per video and class, (B, C).

    Args:
        logits: (B, C).
        labels: (B, C) in [0, 1].
        config: Exponents, margin, coefficients and hill.
    """
    missing = torch.sigmoid(-logits)
    kept = shifted(missing, config)
    of_positive, of_negative = focused_labels(labels, missing, kept, config)
    p = 1 - missing
    hill = (config.hill - p) * p.square() * (config.hill - kept)
    negative = of_negative * hill * minus_log(kept, logits, config)
    return torch.addcmul(negative, of_positive, polynomial(logits, missing, config))
