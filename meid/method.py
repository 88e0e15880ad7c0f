"""MEID as a method: its settings, two stages, and losses, as the paper prints them."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from meid.distillation import Distance, NeckKind, Necks, VarianceOver, distillation_loss
from meid.experts import AppliesTo, AttentionKind, FirstExpert, Norm, SecondExpert, Selection
from meid.two_experts import TwoExperts, TwoExpertsConfig
from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.losses import focal_loss, picked_mask, reduced
from meid_bench.methods.method import Batch, MethodConfig, Sampler, Task, require


@dataclass(frozen=True)
class MEIDConfig(TwoExpertsConfig):
    """Settings of MEID; every reading of a point that the paper leaves open is one.

    Attributes:
        attention: How scores become weights, eq. 3; "none" leaves the attention out.
        attention_width: Width between the attention's two linear layers (ours).
        attention_on: Where the weights apply, the embedding (eq. 4) or the features.
        norm: Normalisation of the frame embedding, eq. 2.
        neck: Form of the necks, eq. 5 and 6.
        variance: What the variance of eq. 7 runs over.
        distance: How the two variances of eq. 7 are compared.
        reduction: Classification loss: mean over classes, or their sum.
        second: The second expert: MEID's ("e2"), a second first expert ("e1"), or none.
        selection: Frame weights of the second expert: R of eq. 8, A, or none.
        motion: Whether the second expert sees motion, eq. 10 and 11.
        sampler2: How the second stage draws videos.
        mask_other_positives: In a class-balanced stage, drop a video's other positives.
    """

    attention: AttentionKind = "scaled_softmax"
    attention_width: int = 512
    attention_on: AppliesTo = "embedding"
    norm: Norm = "layer"
    neck: NeckKind = "full"
    variance: VarianceOver = "batch"
    distance: Distance = "mean"
    reduction: Literal["mean", "sum"] = "mean"
    second: Literal["e2", "e1", "none"] = "e2"
    selection: Selection = "complementary"
    motion: bool = True
    sampler2: Sampler = "class_balanced"
    mask_other_positives: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        require(self.attention_width >= 1, "attention_width", self.attention_width, "at least 1")

    def idle(self, task: Task) -> Mapping[str, str]:
        """What is left out leaves its settings idle; so does a video that is a single vector."""
        reasons: dict[str, str] = {}

        def unused(because: str, *names: str) -> None:
            reasons.update(dict.fromkeys(names, because))

        if self.sampler2 == "uniform":
            unused("sampler2=uniform draws no class", "mask_other_positives")
        if self.lambda1 == 0 and (self.lambda2 == 0 or self.second == "none"):
            unused("there is no distillation", "neck", "variance", "distance")
        if self.selection != "complementary":
            unused(f"selection={self.selection} has no beta", "beta")
        if self.second == "e1":
            unused("second=e1 is a first expert", "selection", "motion", "beta")
        if self.second == "none":
            of_second = ("lr2", "lambda2", "sampler2", "mask_other_positives")
            unused("second=none is one expert", "selection", "motion", "beta", *of_second)
        if self.attention == "none":
            unused("there is no attention", "attention_width", "attention_on")
        if task.frames == 1:
            over_time = ("attention", "attention_width", "attention_on")
            unused("a video is a single vector here", *over_time, "selection", "motion", "beta")
        return reasons


class MEID(TwoExperts):
    """Two experts: attention on the long tail, then unsolved frames and motion on balanced draws.

    Where a video is a single vector (T = 1) there is nothing to weigh and nothing moves: attention,
    selection and motion are left out.

    Reference:
        Li and Xu, MEID: Mixture-of-Experts with Internal Distillation for Long-Tailed Video
        Recognition (AAAI 2023), eq. 2 to 14 and Implementation Details. Its authors' code, which
        is another network, is the method `meid-authors` (preset "authors").

    Differs:
        Points that the paper leaves open are settings, each with its default's reason in
        docs/meid.md: the attention's normalisation, the necks' form, what the variance runs over,
        the loss's reduction, focal gamma, whether class-balanced draws mask other positives. The
        norm of eq. 7 is divided by the number of classes: as printed (distance=norm) its share of
        the gradient grows with them, until nothing else is learnt.
    """

    Config: ClassVar[type[MethodConfig]] = MEIDConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "videolt": {"mask_other_positives": True},
        "authors": {"method": "meid-authors"},
    }
    venue: ClassVar[str] = "AAAI 2023"
    config: MEIDConfig

    def __init__(self, task: Task, config: MEIDConfig, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        if config.attention_on == "features" and config.norm == "layer":
            warnings.warn(
                "attention_on=features with norm=layer: LayerNorm takes the weights out again, so "
                "that the attention does almost nothing; set norm=none or norm=batch",
                stacklevel=2,
            )
        self.first = self._first_expert(make_aggregator)
        self.weighs_frames = self.first.attention.kind != "none"
        self.first_necks = self._necks()
        if config.second == "e1":
            self.second = self._first_expert(make_aggregator)
        elif config.second == "e2":
            over_time = task.frames > 1
            self.second = SecondExpert(
                task.width,
                task.classes,
                make_aggregator,
                selection=config.selection if over_time else "none",
                beta=config.beta,
                motion=config.motion and over_time,
                norm=config.norm,
            )
        self.second_necks = self._necks() if self.second is not None else None

    def _first_expert(self, make_aggregator: MakeAggregator) -> FirstExpert:
        config = self.config
        return FirstExpert(
            self.task.width,
            self.task.classes,
            make_aggregator,
            attention=config.attention if self.task.frames > 1 else "none",
            attention_width=config.attention_width,
            attention_on=config.attention_on,
            norm=config.norm,
        )

    def _necks(self) -> Necks:
        groups = self.task.groups
        return Necks(self.task.classes, groups["head"], groups["tail"], self.config.neck)

    def sampler2(self) -> Sampler:
        """As the settings say."""
        return self.config.sampler2

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

    def classification(self, first: Tensor, second: Tensor | None, batch: Batch) -> Tensor:
        """Focal loss on the sum of the experts' logits."""
        logits = first if second is None else first + second
        values = focal_loss(logits.float(), batch.labels, self.config.gamma)
        if self.config.mask_other_positives and batch.picked is not None:
            values = values * picked_mask(batch.labels, batch.picked)
        return reduced(values, self.config.reduction)

    def distance(self, head: Tensor, tail: Tensor) -> Tensor:
        """Eq. 7, as the settings say."""
        return distillation_loss(head, tail, self.config.variance, self.config.distance)

    def explain(self, x: Tensor) -> dict[str, Tensor]:
        """A and R (B, T), and each expert's logits (B, C)."""
        first, second, attention = self.experts(x)
        parts = {"A": attention, "expert1": first}
        if second is not None:
            parts["expert2"] = second
            if isinstance(self.second, SecondExpert):
                parts["R"] = self.second.weights(attention)
        return parts
