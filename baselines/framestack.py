"""FrameStack: stack frames of two videos, more from the one whose classes are learnt less."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from baselines.presets import AUTHORS
from meid_bench.methods.frame_draws import MeanOver, pairs, stack_frames
from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.losses import focal_loss
from meid_bench.methods.method import (
    AggregatorMethod,
    Batch,
    Family,
    MethodConfig,
    Stage,
    Task,
    in_epochs,
    require,
)


@dataclass(frozen=True)
class FrameStackConfig(MethodConfig):
    """Settings of FrameStack.

    Attributes:
        gamma: Focal loss's exponent.
        ratio: Share of each batch that is stacked, its first videos, in pairs among themselves.
        warm_epoch: Videos are stacked after this epoch.
        mean_over: A video's running AP is the mean over its "positives", or over all "classes"
            with 0 for those that it does not have.
    """

    gamma: float = 1.0
    ratio: float = 0.5
    warm_epoch: int = in_epochs(0)
    mean_over: MeanOver = "positives"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        require(self.gamma >= 0, "gamma", self.gamma, "at least 0")
        require(0 <= self.ratio <= 1, "ratio", self.ratio, "in [0, 1]")
        require(self.warm_epoch >= 0, "warm_epoch", self.warm_epoch, "at least 0")


class FrameStack(AggregatorMethod):
    """Frames of two videos in one, shared out by how well their classes are learnt so far.

    Reference:
        Zhang et al., VideoLT: Large-scale Long-tailed Video Recognition (ICCV 2021);
        FrameStack and train (ops/Augment.py and dy_main.py at 1732d5c).

    Differs:
        A video's AP is the mean over its positives; that code's mean over all classes makes the
        share follow the number of labels (preset "videolt"). The AP is measured in eval mode, as
        the runner does for every method; that code measures it with dropout on. Both do so before
        the step.
    """

    Config: ClassVar[type[MethodConfig]] = FrameStackConfig
    presets = {  # noqa: RUF012
        "videolt": {"mean_over": "classes", "lr": 1e-4},
        "authors": {**AUTHORS, "mean_over": "classes"},
    }
    family: ClassVar[Family] = "augmentation"
    venue: ClassVar[str] = "ICCV 2021"
    config: FrameStackConfig

    def __init__(self, task: Task, config: Any, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        self.running_ap: Tensor
        self.register_buffer("running_ap", torch.zeros(task.classes))

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Focal loss of stacked and unstacked videos, mean over videos and classes."""
        features, labels = batch.features, batch.labels
        if epoch > self.config.warm_epoch:
            config = self.config
            partner, share = pairs(batch, self.running_ap, config.ratio, config.mean_over)
            features = stack_frames(features, partner.features, share)
            labels = torch.lerp(labels, partner.labels, share.unsqueeze(1))
        return focal_loss(self(features), labels, self.config.gamma).mean()

    def end_epoch(self, stage: Stage, epoch: int, train_ap: Tensor) -> None:
        """Keep the epoch's AP for the next; a class without positives counts as 0."""
        self.running_ap.copy_(train_ap.nan_to_num(0.0))
