"""MEID as a method: its settings, two stages, losses, and what to watch while it trains."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from meid.distillation import NeckKind, Necks, VarianceOver, distillation_loss
from meid.experts import AppliesTo, AttentionKind, FirstExpert, Norm, SecondExpert, Selection
from meid_bench.losses import focal_loss, picked_mask, reduced
from meid_bench.method import (
    Alarm,
    Batch,
    MakeAggregator,
    Method,
    MethodConfig,
    Sampler,
    Stage,
    Task,
    learning_rate,
    require,
)


@dataclass(frozen=True)
class MEIDConfig(MethodConfig):
    """Settings of MEID; every reading of a point that the paper leaves open is one.

    Attributes:
        lr2: Adam's initial learning rate of the second stage (the paper's 1e-4).
        lambda1: Weight of the distillation loss in the first stage; 0 leaves it out.
        lambda2: The same in the second stage.
        beta: Of complementary frame selection, eq. 8.
        gamma: Focal loss; the paper says "focal loss", 1 is its predecessor's code.
        attention: How scores become weights, eq. 3; "none" leaves the attention out.
        attention_width: Width between the attention's two linear layers (ours).
        attention_on: Where the weights apply, the embedding (eq. 4) or the features.
        norm: Normalisation of the frame embedding, eq. 2.
        neck: Form of the necks, eq. 5 and 6.
        variance: What the variance of eq. 7 runs over.
        reduction: Classification loss: mean over classes, or their sum.
        second: The second expert: MEID's ("e2"), a second first expert ("e1"), or none.
        selection: Frame weights of the second expert: R of eq. 8, A, or none.
        motion: Whether the second expert sees motion, eq. 10 and 11.
        sampler2: How the second stage draws videos.
        mask_other_positives: In a class-balanced stage, drop a video's other positives.
    """

    lr2: float = learning_rate(1e-4)
    lambda1: float = 0.1
    lambda2: float = 0.1
    beta: float = 0.5
    gamma: float = 1.0
    attention: AttentionKind = "scaled_softmax"
    attention_width: int = 512
    attention_on: AppliesTo = "embedding"
    norm: Norm = "layer"
    neck: NeckKind = "full"
    variance: VarianceOver = "batch"
    reduction: Literal["mean", "sum"] = "mean"
    second: Literal["e2", "e1", "none"] = "e2"
    selection: Selection = "complementary"
    motion: bool = True
    sampler2: Sampler = "class_balanced"
    mask_other_positives: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        require(0 < self.lr2 < 1, "lr2", self.lr2, "between 0 and 1")
        for name in ("lambda1", "lambda2", "gamma"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        require(0 < self.beta < 1, "beta", self.beta, "between 0 and 1 (eq. 8)")
        require(self.attention_width >= 1, "attention_width", self.attention_width, "at least 1")


class MEID(Method):
    """Two experts: attention on the long tail, then unsolved frames and motion on balanced draws.

    Reference:
        Li and Xu, MEID: Mixture-of-Experts with Internal Distillation for Long-Tailed Video
        Recognition (AAAI 2023), eq. 2 to 14 and Implementation Details. No code was published.

    Differs:
        Points that the paper leaves open are settings, each with its default's reason in
        docs/meid.md: the attention's normalisation, the necks' form, what the variance runs over,
        the loss's reduction, focal gamma, whether class-balanced draws mask other positives.
    """

    Config: ClassVar[type[MethodConfig]] = MEIDConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"videolt": {"mask_other_positives": True}}
    alarms: ClassVar[Mapping[str, Alarm]] = {
        "attention_std": Alarm("the attention is almost the same for all frames", low=0.01),
        "distillation_share": Alarm("the distillation swamps the gradient", high=0.5),
        "second_expert_share": Alarm("the second expert adds almost nothing", low=0.01),
    }
    config: MEIDConfig

    def __init__(self, task: Task, config: MEIDConfig, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        self.first = self._first_expert(make_aggregator)
        self.first_necks = self._necks()
        self.second: nn.Module | None = None
        if config.second == "e1":
            self.second = self._first_expert(make_aggregator)
        elif config.second == "e2":
            self.second = SecondExpert(
                task.width,
                task.classes,
                make_aggregator,
                selection=config.selection,
                beta=config.beta,
                motion=config.motion,
                norm=config.norm,
            )
        self.second_necks = self._necks() if self.second is not None else None
        self.both = False

    def _first_expert(self, make_aggregator: MakeAggregator) -> FirstExpert:
        config = self.config
        return FirstExpert(
            self.task.width,
            self.task.classes,
            make_aggregator,
            attention=config.attention,
            attention_width=config.attention_width,
            attention_on=config.attention_on,
            norm=config.norm,
        )

    def _necks(self) -> Necks:
        groups = self.task.groups
        return Necks(self.task.classes, groups["head"], groups["tail"], self.config.neck)

    def stages(self) -> Sequence[Stage]:
        """First expert on all videos, then the second on class-balanced draws."""
        config = self.config
        first = Stage("first expert", config.epochs, config.lr, config.milestones)
        if self.second is None:
            return (first,)
        sampler: Sampler = "uniform" if config.second == "e1" else config.sampler2
        second = Stage("second expert", config.epochs, config.lr2, config.milestones, sampler)
        return (first, second)

    def begin_stage(self, stage: Stage) -> None:
        """The second expert's logits count from its own stage on."""
        self.both = stage.name == "second expert"

    def trainable(self, stage: Stage) -> Iterable[nn.Parameter]:
        """The stage's expert and its necks; the first expert is frozen in the second stage."""
        modules = [self.second, self.second_necks] if self.both else [self.first, self.first_necks]
        return (p for module in modules if module is not None for p in module.parameters())

    def experts(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Logits of the first expert (B, C), of the second or None, and A (B, T)."""
        if not self.both:
            logits, attention = self.first(x)
            return logits, None, attention
        with torch.no_grad():
            logits, attention = self.first(x)
        if isinstance(self.second, SecondExpert):
            return logits, self.second(x, attention), attention
        assert self.second is not None
        return logits, self.second(x)[0], attention

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C): the sum of both experts' from the second stage on (eq. 14)."""
        first, second, _ = self.experts(x)
        return first if second is None else first + second

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Classification plus weighted distillation: eq. 13, then eq. 14."""
        first, second, _ = self.experts(batch.features)
        classification = self._classification(first if second is None else first + second, batch)
        if second is None:
            return classification + self._distillation(first, batch, self.first_necks)
        assert self.second_necks is not None
        return classification + self._distillation(second, batch, self.second_necks)

    def _classification(self, logits: Tensor, batch: Batch) -> Tensor:
        values = focal_loss(logits.float(), batch.labels, self.config.gamma)
        if self.config.mask_other_positives and batch.picked is not None:
            values = values * picked_mask(batch.labels, batch.picked)
        return reduced(values, self.config.reduction)

    def _distillation(self, logits: Tensor, batch: Batch, necks: Necks) -> Tensor:
        weight = self.config.lambda2 if self.both else self.config.lambda1
        if weight == 0:
            return logits.new_zeros(())
        head, tail = necks(logits)
        distance = distillation_loss(batch.gather(head), batch.gather(tail), self.config.variance)
        return weight * distance

    def explain(self, x: Tensor) -> dict[str, Tensor]:
        """A and R (B, T), and each expert's logits (B, C)."""
        first, second, attention = self.experts(x)
        parts = {"A": attention, "expert1": first}
        if second is not None:
            parts["expert2"] = second
            if isinstance(self.second, SecondExpert):
                parts["R"] = self.second.weights(attention)
        return parts

    def diagnostics(self, batch: Batch, stage: Stage) -> dict[str, float]:
        """Spread of A, the distillation's share of the gradient, the second expert's size.

        The share is |d L_d| / (|d L_cls| + |d L_d|) at the logits of the expert in training.
        """
        with torch.no_grad():
            first, second, attention = self.experts(batch.features)
        values = {}
        if self.config.attention != "none":
            values["attention_std"] = float(attention.std(1, correction=0).mean())
        if second is not None:
            size = float(first.float().square().mean().sqrt())
            values["second_expert_share"] = float(second.float().square().mean().sqrt()) / (
                size + 1e-12
            )
        if (self.config.lambda2 if self.both else self.config.lambda1) > 0:
            values["distillation_share"] = self._distillation_share(first, second, batch)
        return values

    def _distillation_share(self, first: Tensor, second: Tensor | None, batch: Batch) -> float:
        logits = (first if second is None else second).detach().float().requires_grad_()
        total = logits if second is None else logits + first
        necks = self.first_necks if second is None else self.second_necks
        assert necks is not None
        with torch.enable_grad():
            parts = (self._distillation(logits, batch, necks), self._classification(total, batch))
            sizes = [float(torch.autograd.grad(part, logits)[0].norm()) for part in parts]
        return sizes[0] / (sum(sizes) + 1e-12)
