"""DB loss: weights that undo what class-balanced draws count twice, and tolerant negatives."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.losses import focal_loss, log_odds
from meid_bench.methods.method import (
    AggregatorMethod,
    Batch,
    Family,
    MethodConfig,
    Sampler,
    Stage,
    Task,
    require,
    searched,
)


@dataclass(frozen=True)
class DBLossConfig(MethodConfig):
    """Settings of DBLoss.

    Attributes:
        alpha: Least weight.
        beta: Steepness of the weights' sigmoid.
        gamma: Its middle.
        neg_scale: lambda, by which a negative's logit is multiplied and its loss divided.
        init_bias: kappa, share of a class's log-odds that is added to its logit.
        focal: Focal loss's exponent.
    """

    alpha: float = 0.1
    beta: float = 10.0
    gamma: float = 0.2
    neg_scale: float = searched(2.0, (2.0, 5.0))
    init_bias: float = 0.05
    focal: float = 2.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        require(self.alpha >= 0, "alpha", self.alpha, "at least 0")
        require(self.neg_scale > 0, "neg_scale", self.neg_scale, "above 0")
        require(self.focal >= 0, "focal", self.focal, "at least 0")


class DBLoss(AggregatorMethod):
    """Distribution-balanced loss on class-balanced draws: re-balanced weights, tolerant negatives.

    Reference:
        Wu et al., Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed Datasets
        (ECCV 2020), with focal loss; ResampleLoss (mllt/models/losses/resample_loss.py of
        github.com/wutong16/DistributionBalancedLoss at 14460d0) with what its
        configs/coco/LT_resnet50_pfc_DB.py gives it, or, preset "voc", configs/voc. Its
        constructor's own constants are none of the paper's.

    Differs:
        The draws are this project's class-balanced ones, where that code goes through the classes
        in turn and takes three images of each. A class without training videos counts as having
        one, and one that every video has as missing in one; that code's loss is then NaN.
    """

    Config: ClassVar[type[MethodConfig]] = DBLossConfig
    presets = {"voc": {"gamma": 0.3, "neg_scale": 5.0}}  # noqa: RUF012
    sampler: ClassVar[Sampler] = "class_balanced"
    family: ClassVar[Family] = "loss"
    venue: ClassVar[str] = "ECCV 2020"
    config: DBLossConfig

    def __init__(self, task: Task, config: Any, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        self.inverse: Tensor
        self.shift: Tensor
        inverse = 1 / torch.tensor(task.counts, dtype=torch.float32).clamp_min(1)
        shift = log_odds(task.counts, task.videos) * config.init_bias / config.neg_scale
        self.register_buffer("inverse", inverse, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Mean over videos and classes."""
        logits = self(batch.features).float()
        weights = rebalancing_weights(batch.labels, self.inverse, self.config)
        return tolerant_loss(logits + self.shift, batch.labels, weights, self.config).mean()


def rebalancing_weights(labels: Tensor, inverse: Tensor, config: DBLossConfig) -> Tensor:
    """Weights alpha + sigmoid(beta (r - gamma)), (B, C).

    r is how often a class draws the video, over how often all the video's labels together do.

    Args:
        labels: (B, C) in [0, 1].
        inverse: 1 / n_c, (C,).
        config: The sigmoid's constants.
    """
    # No matrix product: autocast would make it bfloat16.
    drawn = (labels * inverse).sum(1, keepdim=True).clamp_min(torch.finfo(inverse.dtype).tiny)
    return config.alpha + torch.sigmoid(config.beta * (inverse / drawn - config.gamma))


def tolerant_loss(logits: Tensor, labels: Tensor, weights: Tensor, config: DBLossConfig) -> Tensor:
    """Twice the weighted focal loss, negatives at lambda z and divided by lambda, (B, C).

    Args:
        logits: With their class's shift, (B, C).
        labels: (B, C) in [0, 1].
        weights: (B, C).
        config: lambda and the focal exponent.
    """
    lower = 1 - labels
    scale = labels + config.neg_scale * lower
    share = labels + lower / config.neg_scale
    return 2 * weights * share * focal_loss(scale * logits, labels, config.focal)
