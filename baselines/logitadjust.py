"""Logit adjustment: how frequent a class is stands in training's logits, and need not be learnt."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.losses import log_odds
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


@dataclass(frozen=True)
class LogitAdjustConfig(MethodConfig):
    """Settings of LogitAdjust.

    Attributes:
        tau: How much of a class's log-odds is added.
    """

    tau: float = searched(1.0, (0.5, 1.0))

    def __post_init__(self) -> None:
        """Refuse a negative strength."""
        super().__post_init__()
        require(self.tau >= 0, "tau", self.tau, "at least 0")


class LogitAdjust(AggregatorMethod):
    """Binary cross-entropy on logits to which, in training, the log-odds of their class are added.

    Reference:
        Menon et al., Long-Tail Learning via Logit Adjustment (ICLR 2021): its loss is the
        softmax cross-entropy of z_c + tau log pi_c.

    Differs:
        One sigmoid a class in place of the softmax: z_c + tau log(pi_c / (1 - pi_c)) with pi_c the
        share of training videos that have the class. Added after training instead, to all scores
        of a class alike, it could not change their order, nor AP.
    """

    Config: ClassVar[type[MethodConfig]] = LogitAdjustConfig
    family: ClassVar[Family] = "loss"
    venue: ClassVar[str] = "ICLR 2021"
    config: LogitAdjustConfig

    def __init__(self, task: Task, config: Any, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        self.shift: Tensor
        shift = config.tau * log_odds(task.counts, task.videos)
        self.register_buffer("shift", shift, persistent=False)

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Mean over videos and classes."""
        logits = self(batch.features).float() + self.shift
        return F.binary_cross_entropy_with_logits(logits, batch.labels)
