"""EQL: most negatives of tail classes are ignored, so that they do not drown the positives."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.presets import AUTHORS
from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.method import (
    AggregatorMethod,
    Batch,
    Family,
    MethodConfig,
    Stage,
    Task,
    require,
)


@dataclass(frozen=True)
class EQLConfig(MethodConfig):
    """Settings of EQL.

    Attributes:
        gamma: Probability with which a tail class's negative is ignored.
        tail_max: Up to how many training videos a class is of the tail; None for the benchmark's.
    """

    gamma: float = 0.9
    tail_max: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        super().__post_init__()
        require(0 <= self.gamma <= 1, "gamma", self.gamma, "in [0, 1]")
        least = self.tail_max is None or self.tail_max >= 0
        require(least, "tail_max", self.tail_max, "at least 0, or none")


class EQL(AggregatorMethod):
    """Binary cross-entropy that ignores most negatives of the benchmark's tail classes.

    Reference:
        Tan et al., Equalization Loss for Long-Tailed Object Recognition (CVPR 2020): the
        weight 1 - beta T(f_c) (1 - y_c), beta being 1 with probability gamma; VideoLT's EQL
        (ops/losses.py at 1732d5c).

    Differs:
        The tail is the benchmark's, 1 to 20 training videos in CharadesLT; that code's is up to
        100, VideoLT's own bin, and MEID's authors left it at that for Charades (preset "authors").
        Its gamma, 1.76e-3, is the paper's frequency threshold, and as a probability it leaves plain
        cross-entropy (both presets); the paper's classification experiments put the probability
        near 0.9.
    """

    Config: ClassVar[type[MethodConfig]] = EQLConfig
    presets = {  # noqa: RUF012
        "videolt": {"gamma": 1.76e-3, "lr": 1e-4},
        "authors": {**AUTHORS, "gamma": 1.76e-3, "tail_max": 100},
    }
    family: ClassVar[Family] = "loss"
    venue: ClassVar[str] = "CVPR 2020"
    config: EQLConfig

    def __init__(self, task: Task, config: Any, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        self.is_tail: Tensor
        is_tail = torch.zeros(task.classes)
        if config.tail_max is None:
            is_tail[list(task.groups["tail"])] = 1
        else:
            is_tail[torch.tensor(task.counts) <= config.tail_max] = 1
        self.register_buffer("is_tail", is_tail, persistent=False)

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Mean over videos and classes, the ignored ones among them."""
        chance = batch.uniform(self.task.classes)
        weights = equalization_weights(batch.labels, self.is_tail, chance, self.config.gamma)
        return F.binary_cross_entropy_with_logits(self(batch.features), batch.labels, weights)


def equalization_weights(labels: Tensor, is_tail: Tensor, chance: Tensor, gamma: float) -> Tensor:
    """0 where a tail class's negative is ignored, 1 elsewhere, (B, C).

    Args:
        labels: (B, C) in [0, 1].
        is_tail: (C,) of 0 and 1.
        chance: (B, C), uniform in [0, 1).
        gamma: Probability of ignoring.
    """
    return 1 - (chance < gamma) * is_tail * (1 - labels)
