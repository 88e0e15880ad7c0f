"""LDAM: margins that are larger for rarer classes, and weights for them late in training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
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
    in_epochs,
    require,
)

Margin = Literal["own", "summed"]


@dataclass(frozen=True)
class LDAMConfig(MethodConfig):
    """Settings of LDAM.

    Attributes:
        max_margin: Margin of the rarest class.
        scale: s, by which logits are multiplied in the loss.
        beta: Of the effective-number weights.
        reweight_epoch: The weights count from this epoch on.
        margin: A positive logit is lowered by its "own" class's margin, or by the sum of the
            margins of all the video's positives ("summed").
    """

    max_margin: float = 0.5
    scale: float = 30.0
    beta: float = 0.9999
    reweight_epoch: int = in_epochs(50)
    margin: Margin = "own"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        require(self.max_margin >= 0, "max_margin", self.max_margin, "at least 0")
        require(self.scale > 0, "scale", self.scale, "above 0")
        require(0 <= self.beta < 1, "beta", self.beta, "in [0, 1)")
        require(self.reweight_epoch >= 0, "reweight_epoch", self.reweight_epoch, "at least 0")


class LDAM(AggregatorMethod):
    """Margins by class count on positive logits, re-weighting from the middle of training on.

    Reference:
        Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss
        (NeurIPS 2019): margins in proportion to n_c^(-1/4), and algorithm 1's deferred
        re-weighting; in the binary form, with s = 30, of VideoLT's LDAM (ops/losses.py at 1732d5c).

    Differs:
        A positive's margin is its own class's, as its authors have it; that code lowers every
        positive logit of a video by the sum of its positives' margins (preset "videolt"), the same
        for videos with one label. Its table of two betas by epoch // 50 ends at epoch 100: here a
        threshold, and no end. Labels between 0 and 1 take their share of the margin; there they
        take none.
    """

    Config: ClassVar[type[MethodConfig]] = LDAMConfig
    presets = {  # noqa: RUF012
        "videolt": {"margin": "summed", "lr": 1e-4},
        "authors": {**AUTHORS, "margin": "summed"},
    }
    family: ClassVar[Family] = "loss"
    venue: ClassVar[str] = "NeurIPS 2019"
    config: LDAMConfig

    def __init__(self, task: Task, config: Any, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        self.margins: Tensor
        self.weights: Tensor
        margins = class_margins(task.counts, config.max_margin)
        weights = effective_number_weights(task.counts, config.beta)
        # They follow from the settings: a saved model need not hold them.
        self.register_buffer("margins", margins, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Mean over videos and classes."""
        weights = self.weights if epoch >= self.config.reweight_epoch else None
        lowered = lower_positives(
            self(batch.features), batch.labels, self.margins, self.config.margin
        )
        return F.binary_cross_entropy_with_logits(
            self.config.scale * lowered, batch.labels, weight=weights
        )


def class_margins(counts: Sequence[int], max_margin: float) -> Tensor:
    """Margins (C,), proportional to n_c^(-1/4), the largest being `max_margin`.

    A class without training videos counts as having one.
    """
    margins = torch.tensor(counts, dtype=torch.float64).clamp_min(1) ** -0.25
    return (margins * (max_margin / margins.max())).float()


def lower_positives(logits: Tensor, targets: Tensor, margins: Tensor, margin: Margin) -> Tensor:
    """Logits (B, C), the positive ones lowered by a margin, others as they are.

    Args:
        logits: (B, C).
        targets: (B, C) in [0, 1]; a label in between takes its share of the margin.
        margins: (C,).
        margin: "own" or "summed", as in LDAMConfig.
    """
    if margin == "own":
        return logits - targets * margins
    summed = (targets * margins).sum(1, keepdim=True)  # autocast would make a product bfloat16
    return logits - targets * summed
