"""FrameStack: stack frames of two videos, more from the one whose classes are learnt less."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from meid_bench.losses import focal_loss
from meid_bench.method import (
    AggregatorMethod,
    Batch,
    MakeAggregator,
    MethodConfig,
    Stage,
    Task,
    in_epochs,
    require,
)

MeanOver = Literal["positives", "classes"]


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
        share follow the number of labels (preset "videolt"). The AP is measured in eval mode,
        before the step, as the runner does for every method; that code measures it after, with
        dropout on.
    """

    Config: ClassVar[type[MethodConfig]] = FrameStackConfig
    presets = {"videolt": {"mean_over": "classes", "lr": 1e-4}}  # noqa: RUF012
    config: FrameStackConfig

    def __init__(self, task: Task, config: Any, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        self.running_ap: Tensor
        self.register_buffer("running_ap", torch.zeros(task.classes))

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Focal loss of stacked and unstacked videos, mean over videos and classes."""
        features, labels = batch.features, batch.labels
        if epoch > self.config.warm_epoch:
            stacked = int(self.config.ratio * batch.whole)
            partner = batch.shuffled(stacked)
            share = partner_share(
                mean_ap(labels, self.running_ap, self.config.mean_over),
                mean_ap(partner.labels, self.running_ap, self.config.mean_over),
            )
            share = share * (batch.places() < stacked)
            features = stack_frames(features, partner.features, share)
            labels = torch.lerp(labels, partner.labels, share.unsqueeze(1))
        return focal_loss(self(features), labels, self.config.gamma).mean()

    def end_epoch(self, stage: Stage, epoch: int, train_ap: Tensor) -> None:
        """Keep the epoch's AP for the next; a class without positives counts as 0."""
        self.running_ap.copy_(train_ap.nan_to_num(0.0))


def mean_ap(labels: Tensor, ap: Tensor, over: MeanOver) -> Tensor:
    """Each video's running AP, (B,), from labels (B, C) and APs (C,)."""
    found = (labels * ap).sum(1)  # no matrix product: autocast would make it bfloat16
    return found / (labels.sum(1).clamp_min(1) if over == "positives" else labels.shape[1])


def partner_share(own: Tensor, partner: Tensor) -> Tensor:
    """The partner's share of the frames, (B,): own AP over the sum; 1/2 where nothing is learnt."""
    total = own + partner
    return torch.where(total < 1e-5, 0.5, own / total.clamp_min(1e-5))


def stack_frames(own: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Of each pair first the partner's frames, then its own, each part spread over its video.

        own      a0 a1 a2 a3 a4 a5      share 0.4: int(0.4 * 6) = 2 of the partner, 4 own
        partner  b0 b1 b2 b3 b4 b5
        result   b0 b5 a0 a1 a3 a5

    Args:
        own: (B, T, D).
        partner: (B, T, D).
        share: The partner's, (B,) in [0, 1].

    Returns:
        (B, T, D).
    """
    frames, width = own.shape[1:]
    place = torch.arange(frames, device=own.device).expand(len(own), frames)
    others = (share * frames).long().unsqueeze(1)
    is_other = place < others
    count = torch.where(is_other, others, frames - others)
    within = torch.where(is_other, place, place - others)
    # Whole numbers: the floor of linspace(0, T - 1, count), and 0 where there is one frame.
    index = within * (frames - 1) // (count - 1).clamp_min(1)
    index = index.unsqueeze(-1).expand(-1, -1, width)
    return torch.where(is_other.unsqueeze(-1), partner.gather(1, index), own.gather(1, index))
