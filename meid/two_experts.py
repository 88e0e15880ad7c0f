"""Two experts trained one after the other: stages, what trains in each, and what to watch."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from meid_bench.methods.batch_part import whole_batch
from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.method import (
    Alarm,
    Batch,
    Family,
    Method,
    MethodConfig,
    Sampler,
    Stage,
    Task,
    learning_rate,
    require,
)


@dataclass(frozen=True)
class TwoExpertsConfig(MethodConfig):
    """Settings that the paper's MEID and its authors' code share.

    Attributes:
        lr2: Adam's initial learning rate of the second stage (the paper's 1e-4).
        lambda1: Weight of the distillation loss in the first stage; 0 leaves it out.
        lambda2: The same in the second stage.
        beta: Of complementary frame selection, eq. 8.
        gamma: Focal loss; the paper says "focal loss", 1 is its predecessor's code.
    """

    lr2: float = learning_rate(1e-4)
    lambda1: float = 0.1
    lambda2: float = 0.1
    beta: float = 0.5
    gamma: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        require(0 < self.lr2 < 1, "lr2", self.lr2, "between 0 and 1")
        for name in ("lambda1", "lambda2", "gamma"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        require(0 < self.beta < 1, "beta", self.beta, "between 0 and 1 (eq. 8)")


class TwoExperts(Method):
    """A first expert on all videos, then, with that one frozen, a second beside it.

    A subclass sets `first`, `first_necks` and, unless there is one expert only, `second` and
    `second_necks` in `__init__`, and says what the experts give and how it is classified.
    """

    alarms: ClassVar[Mapping[str, Alarm]] = {
        "attention_std": Alarm("the attention is almost the same for all frames", low=0.01),
        "distillation_share": Alarm("the distillation swamps the gradient", high=0.5),
        "second_expert_share": Alarm("the second expert adds almost nothing", low=0.01),
    }
    family: ClassVar[Family] = "network"
    config: TwoExpertsConfig
    first: nn.Module
    first_necks: nn.Module

    def __init__(self, task: Task, config: TwoExpertsConfig, make_aggregator: MakeAggregator):
        super().__init__(task, config, make_aggregator)
        self.second: nn.Module | None = None
        self.second_necks: nn.Module | None = None
        self.both = False
        self.weighs_frames = True

    @abstractmethod
    def experts(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Logits of the first expert (B, C), of the second or None, and A (B, T)."""

    @abstractmethod
    def classification(self, first: Tensor, second: Tensor | None, batch: Batch) -> Tensor:
        """The classification loss, a scalar."""

    @abstractmethod
    def distance(self, head: Tensor, tail: Tensor) -> Tensor:
        """The distance of eq. 7 between two embeddings, (B, C) each, a scalar."""

    def sampler2(self) -> Sampler:
        """How the second stage draws videos."""
        return "class_balanced"

    def stages(self) -> Sequence[Stage]:
        """First expert on all videos, then the second."""
        config = self.config
        first = Stage("first expert", config.epochs, config.lr, config.milestones)
        if self.second is None:
            return (first,)
        second = ("second expert", config.epochs, config.lr2, config.milestones, self.sampler2())
        return (first, Stage(*second))

    def begin_stage(self, stage: Stage) -> None:
        """The second expert's logits count from its own stage on."""
        self.both = stage.name == "second expert"

    def trainable(self, stage: Stage) -> Iterable[nn.Parameter]:
        """The stage's expert and its necks; the first expert is frozen in the second stage."""
        modules = [self.second, self.second_necks] if self.both else [self.first, self.first_necks]
        return (p for module in modules if module is not None for p in module.parameters())

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Classification plus weighted distillation: eq. 13, then eq. 14."""
        first, second, _ = self.experts(batch.features)
        logits = first if second is None else second
        return self.classification(first, second, batch) + self.distillation(logits, batch)

    def distillation(self, logits: Tensor, batch: Batch) -> Tensor:
        """The distillation loss on the logits (B, C) of the expert in training, weighted."""
        weight = self.config.lambda2 if self.both else self.config.lambda1
        if weight == 0:
            return logits.new_zeros(())
        necks = self.second_necks if self.both else self.first_necks
        assert necks is not None
        head, tail = (whole_batch(batch, embedding) for embedding in necks(logits))
        return weight * self.distance(head, tail)

    def diagnostics(self, batch: Batch, stage: Stage) -> dict[str, float]:
        """Spread of A, the distillation's share of the gradient, the second expert's size.

        The share is |d L_d| / (|d L_cls| + |d L_d|) at the logits of the expert in training.
        """
        with torch.no_grad():
            first, second, attention = self.experts(batch.features)
        values = {}
        if self.weighs_frames:
            values["attention_std"] = float(attention.std(1, correction=0).mean())
        if second is not None:
            sizes = [float(logits.float().square().mean().sqrt()) for logits in (second, first)]
            values["second_expert_share"] = sizes[0] / (sizes[1] + 1e-12)
        if (self.config.lambda2 if self.both else self.config.lambda1) > 0:
            values["distillation_share"] = self._distillation_share(first, second, batch)
        return values

    def _distillation_share(self, first: Tensor, second: Tensor | None, batch: Batch) -> float:
        logits = (first if second is None else second).detach().float().requires_grad_()
        with torch.enable_grad():
            classification = (
                self.classification(logits, None, batch)
                if second is None
                else self.classification(first, logits, batch)
            )
            parts = (self.distillation(logits, batch), classification)
            sizes = [float(torch.autograd.grad(part, logits)[0].norm()) for part in parts]
        return sizes[0] / (sum(sizes) + 1e-12)
