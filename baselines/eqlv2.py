"""EQL v2: weights that even out what a class's positives and its negatives do to its logits."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from meid_bench.methods.batch_part import whole_batch
from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.losses import reduced
from meid_bench.methods.method import (
    AggregatorMethod,
    Batch,
    Family,
    MethodConfig,
    Stage,
    Task,
    require,
    searched,
)

UNKNOWN = 100.0  # ratio of a class without any gradient yet: both weights are 1


@dataclass(frozen=True)
class EQLv2Config(MethodConfig):
    """Settings of EQLv2.

    Attributes:
        alpha: How much more than 1 a positive may weigh.
        gamma: Steepness of the weights over the gradient ratio.
        mu: The ratio at which a negative weighs half.
        reduction: Over classes, the sum or the mean; over videos it is the mean.
    """

    alpha: float = searched(4.0, (2.0, 4.0))
    gamma: float = 12.0
    mu: float = 0.8
    reduction: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        require(self.alpha >= 0, "alpha", self.alpha, "at least 0")
        require(self.gamma >= 0, "gamma", self.gamma, "at least 0")


class EQLv2(AggregatorMethod):
    """Classes whose positives have had less gradient than their negatives weigh positives more.

    Reference:
        Tan et al., Equalization Loss v2: A New Gradient Balance Approach for Long-Tailed Object
        Detection (CVPR 2021); EQLv2 (mmdet/models/losses/eqlv2.py of github.com/tztztztztz/eqlv2 at
        907fad9).

    Differs:
        Videos in place of proposals, and all of their labels; no column for objectness. The
        gradients' sums are of the whole batch on every rank, are stored with the weights, and grow
        in training alone. A label between 0 and 1 takes its share of either weight.
    """

    Config: ClassVar[type[MethodConfig]] = EQLv2Config
    family: ClassVar[Family] = "loss"
    venue: ClassVar[str] = "CVPR 2021"
    config: EQLv2Config

    def __init__(self, task: Task, config: Any, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        self.positive: Tensor
        self.negative: Tensor
        # Sums of each class's gradients so far: a run that goes on must go on from them.
        self.register_buffer("positive", torch.zeros(task.classes))
        self.register_buffer("negative", torch.zeros(task.classes))

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Sum over classes, mean over videos."""
        logits, labels = self(batch.features).float(), batch.labels
        weights = gradient_weights(labels, self.positive, self.negative, self.config)
        values = F.binary_cross_entropy_with_logits(logits, labels, weights, reduction="none")
        if self.training:
            self._collect(batch, logits.detach(), weights)
        return reduced(values, self.config.reduction)

    @torch.no_grad()
    def _collect(self, batch: Batch, logits: Tensor, weights: Tensor) -> None:
        p = torch.sigmoid(logits)
        self.positive += whole_batch(batch, batch.labels * (1 - p) * weights).sum(0)
        self.negative += whole_batch(batch, (1 - batch.labels) * p * weights).sum(0)


def gradient_weights(
    labels: Tensor, positive: Tensor, negative: Tensor, config: EQLv2Config
) -> Tensor:
    """Weights of positives and negatives by their class's gradient ratio, (B, C).

    Args:
        labels: (B, C) in [0, 1].
        positive: Sum of the gradients of positives so far, (C,).
        negative: The same of negatives.
        config: How a ratio becomes a weight.
    """
    ratio = (positive / (negative + 1e-10)).masked_fill(positive + negative == 0, UNKNOWN)
    of_negatives = torch.sigmoid(config.gamma * (ratio - config.mu))
    of_positives = 1 + config.alpha * (1 - of_negatives)
    return torch.lerp(of_negatives, of_positives, labels)
