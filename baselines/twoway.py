"""Two-way loss: positives above negatives, among a class's videos and among a video's classes."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from meid_bench.errors import MethodError
from meid_bench.methods.batch_part import whole_batch
from meid_bench.methods.method import (
    AggregatorMethod,
    Batch,
    Family,
    MethodConfig,
    Sampler,
    Stage,
    require,
    searched,
)


@dataclass(frozen=True)
class TwoWayConfig(MethodConfig):
    """Settings of TwoWay.

    Attributes:
        temperature_pos: Tp; the larger, the more positives than the lowest one count.
        temperature_neg: Tn, the same of negatives and the highest.
        draws: How videos are drawn.
    """

    temperature_pos: float = searched(4.0, (1.0, 4.0))
    temperature_neg: float = 1.0
    draws: Sampler = "uniform"

    def __post_init__(self) -> None:
        """Refuse temperatures that are none."""
        super().__post_init__()
        require(self.temperature_pos > 0, "temperature_pos", self.temperature_pos, "above 0")
        require(self.temperature_neg > 0, "temperature_neg", self.temperature_neg, "above 0")


class TwoWay(AggregatorMethod):
    """Softmax comparisons of positives with negatives, along each class and along each video.

    Along a class it ranks the batch's videos, which is what AP measures. A class without a positive
    in the batch is not compared: with few tail videos, draw class-balanced (preset "balanced").

    Reference:
        Kobayashi, Two-Way Multi-Label Loss (CVPR 2023); TwoWayLoss (utils/criterion.py of
        github.com/tk1980/TwoWayMultiLabelLoss at ef8b2d6).

    Differs:
        Logits of the other kind are left out; that code lowers them by 100, which shows once logits
        are as far apart. A batch without any label has the loss 0, there NaN. Labels between 0 and
        1, for which the loss has no meaning, are refused. Over several ranks it is the whole
        batch's; there each compares its own part.
    """

    Config: ClassVar[type[MethodConfig]] = TwoWayConfig
    presets = {"balanced": {"draws": "class_balanced"}}  # noqa: RUF012
    family: ClassVar[Family] = "loss"
    venue: ClassVar[str] = "CVPR 2023"
    config: TwoWayConfig

    def stages(self) -> tuple[Stage, ...]:
        """One, drawn as the settings say."""
        return tuple(replace(stage, sampler=self.config.draws) for stage in super().stages())

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Mean over the batch's classes, plus mean over its videos."""
        logits = whole_batch(batch, self(batch.features).float())
        return two_way_loss(logits, whole_batch(batch, batch.labels), self.config)


def two_way_loss(logits: Tensor, labels: Tensor, config: TwoWayConfig) -> Tensor:
    """The loss of a whole batch, a scalar.

    Args:
        logits: (B, C).
        labels: (B, C) of 0 and 1.
        config: Temperatures.

    Raises:
        MethodError: There are other labels.
    """
    positive = labels == 1
    # On a GPU every step would wait for the answer; `meid-bench check` asks on the CPU.
    if labels.device.type == "cpu" and not bool((positive | (labels == 0)).all()):
        raise MethodError(
            "The two-way loss compares positives with negatives, and was given labels between 0 "
            "and 1; mix no videos with it"
        )
    tp, tn = config.temperature_pos, config.temperature_neg
    low, high, negative = -logits / tp, logits / tn, ~positive
    total = logits.new_zeros(())
    for over in (0, 1):
        gaps = tp * masked_logsumexp(low, negative, over)
        gaps = gaps + tn * masked_logsumexp(high, positive, over)
        # 0 where a class or a video has positives or negatives alone.
        total = total + F.softplus(gaps).sum() / positive.any(over).sum().clamp_min(1)
    return total


def masked_logsumexp(values: Tensor, others: Tensor, over: int) -> Tensor:
    """Logsumexp of values but for some; of none the least number, without a gradient.

    Args:
        values: (B, C).
        others: (B, C) bool, which to leave out.
        over: The dimension.
    """
    peak = values.detach().masked_fill(others, torch.finfo(values.dtype).min).amax(over, True)
    # Beside the peak's 1 an exp(-80) is nothing, and much faster than that of minus infinity.
    shares = (values - peak).masked_fill(others, -80).exp()
    return shares.sum(over).log() + peak.squeeze(over)
