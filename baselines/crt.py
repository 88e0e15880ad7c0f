"""cRT: learn the network on all videos, then its last layer anew on class-balanced draws."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.method import (
    AggregatorMethod,
    Batch,
    Family,
    MethodConfig,
    Stage,
    Task,
    in_epochs,
    learning_rate,
    require,
    require_ascending,
)

Rest = Literal["still", "moving", "trained"]


@dataclass(frozen=True)
class CRTConfig(MethodConfig):
    """Settings of CRT.

    Attributes:
        epochs2: Passes of the second stage, a tenth of the first's.
        lr2: Adam's initial learning rate of the second stage; there too both begin with one rate.
        milestones2: Epochs of the second stage at which its rate falls to a tenth.
        rest: What the network below the last layer does in the second stage: it is frozen and in
            eval mode ("still"), frozen in training mode, with dropout and batch normalisation that
            goes on counting ("moving"), or learns on ("trained").
    """

    epochs2: int = in_epochs(10)
    lr2: float = learning_rate(1e-3)
    milestones2: tuple[int, ...] = in_epochs((3, 6))
    rest: Rest = "still"

    def __post_init__(self) -> None:
        """Refuse values that no training can use."""
        super().__post_init__()
        require(self.epochs2 >= 1, "epochs2", self.epochs2, "at least 1")
        require(0 < self.lr2 < 1, "lr2", self.lr2, "between 0 and 1")
        require_ascending("milestones2", self.milestones2)


class CRT(AggregatorMethod):
    """Plain training, then a new last layer on class-balanced draws with the rest frozen.

    Reference:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition
        (ICLR 2020), section 4; config/ImageNet_LT/feat_uniform.yaml and cls_crt.yaml (90 and 10
        epochs, one initial rate) and run_networks.py of github.com/facebookresearch/
        classifier-balancing at f162ade.

    Differs:
        Binary cross-entropy over many labels in place of softmax, and the runner's Adam and steps
        in place of SGD and a cosine. That code freezes weights alone: dropout and the statistics
        of batch normalisation go on in its second stage (preset "released"). Its class-balanced
        draws take 4 videos of a class in a row, and every class before one comes again; here each
        draw is by itself, and all labels of a drawn video count. An epoch is as long in both.
    """

    Config: ClassVar[type[MethodConfig]] = CRTConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "videolt": {"lr": 1e-4, "lr2": 1e-4},
        "released": {"rest": "moving"},
    }
    family: ClassVar[Family] = "two-stage"
    venue: ClassVar[str] = "ICLR 2020"
    config: CRTConfig

    def __init__(self, task: Task, config: Any, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        # Drawn now, from the run's seed: a stage that is taken up again has nothing left to draw.
        self.classifier = with_fresh_weights(self.aggregator.output)
        self.retraining = False

    def stages(self) -> Sequence[Stage]:
        """The whole network, then its last layer."""
        config = self.config
        second = (config.epochs2, config.lr2, config.milestones2)
        return (
            Stage("network", config.epochs, config.lr, config.milestones),
            Stage("classifier", *second, "class_balanced"),
        )

    def begin_stage(self, stage: Stage) -> None:
        """The new last layer stands in for the first one from its own stage on."""
        self.retraining = stage.name == "classifier"

    def trainable(self, stage: Stage) -> Iterable[nn.Parameter]:
        """All but the new last layer, then that alone unless the rest is trained too."""
        if not self.retraining:
            return self.aggregator.parameters()
        if self.config.rest != "trained":
            return self.classifier.parameters()
        replaced = {id(parameter) for parameter in self.aggregator.output.parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in replaced)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, C)."""
        if not self.retraining:
            return super().forward(x)
        logits: Tensor = self.classifier(self.embedded(x))
        return logits

    def embedded(self, x: Tensor) -> Tensor:
        """What the new last layer reads: (B, T, D) -> (B, hidden)."""
        if self.training and self.config.rest == "moving":
            self.aggregator.train()
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.rest == "trained"):
            return self.aggregator.embed(x)

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Mean over videos and classes."""
        return F.binary_cross_entropy_with_logits(self(batch.features), batch.labels)


def with_fresh_weights(layer: nn.Module) -> nn.Module:
    """A copy of a layer whose weights are drawn anew, from torch's global seed."""
    fresh = copy.deepcopy(layer)
    for module in fresh.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return fresh
