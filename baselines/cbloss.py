"""CB loss: each class weighs in inverse proportion to its effective number of videos."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from baselines.presets import AUTHORS
from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.losses import effective_number_weights
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
class CBLossConfig(MethodConfig):
    """Settings of CBLoss.

    Attributes:
        beta: Of the effective number, (1 - beta^n) / (1 - beta).
    """

    beta: float = 0.9999

    def __post_init__(self) -> None:
        """Refuse a beta outside [0, 1)."""
        super().__post_init__()
        require(0 <= self.beta < 1, "beta", self.beta, "in [0, 1)")


class CBLoss(AggregatorMethod):
    """Binary cross-entropy with classes weighted by their effective number of videos.

    Reference:
        Cui et al., Class-Balanced Loss Based on Effective Number of Samples (CVPR 2019): the
        inverse of proposition 1's effective number, normalised to sum C; VideoLT's CBLoss
        (ops/losses.py at 1732d5c).

    Differs:
        As VideoLT has it, a class's weight goes to its column of the loss; Cui et al. weigh all of
        a sample's loss by the weight of its one label, which a video with many does not have. A
        class without training videos counts as having one; VideoLT's code divides by zero.
    """

    Config: ClassVar[type[MethodConfig]] = CBLossConfig
    presets = {  # noqa: RUF012
        "videolt": {"lr": 1e-4},
        "authors": AUTHORS,
    }
    family: ClassVar[Family] = "loss"
    venue: ClassVar[str] = "CVPR 2019"
    config: CBLossConfig

    def __init__(self, task: Task, config: Any, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        self.weights: Tensor
        weights = effective_number_weights(task.counts, config.beta)
        self.register_buffer("weights", weights, persistent=False)

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Mean over videos and classes."""
        return F.binary_cross_entropy_with_logits(
            self(batch.features), batch.labels, weight=self.weights
        )
