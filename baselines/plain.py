"""Plain training: the aggregator alone, no long-tail strategy."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from baselines.presets import AUTHORS
from meid_bench.methods.losses import focal_loss
from meid_bench.methods.method import AggregatorMethod, Batch, Family, MethodConfig, Stage, require


@dataclass(frozen=True)
class PlainConfig(MethodConfig):
    """Settings of Plain.

    Attributes:
        loss: "bce", binary cross-entropy, or "focal".
        gamma: Focal loss's exponent.
    """

    loss: Literal["bce", "focal"] = "bce"
    gamma: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a negative exponent."""
        super().__post_init__()
        require(self.gamma >= 0, "gamma", self.gamma, "at least 0")


class Plain(AggregatorMethod):
    """The aggregator with binary cross-entropy (or focal loss), every video once an epoch.

    Reference: VideoLT's baseline (base_main.py and BCELoss at 1732d5c).
    """

    Config: ClassVar[type[MethodConfig]] = PlainConfig
    presets = {  # noqa: RUF012
        "videolt": {"lr": 1e-4},
        "authors": AUTHORS,
    }
    family: ClassVar[Family] = "loss"
    venue: ClassVar[str] = "ICCV 2021"
    config: PlainConfig

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Mean over videos and classes."""
        gamma = self.config.gamma if self.config.loss == "focal" else 0.0
        return focal_loss(self(batch.features), batch.labels, gamma).mean()
