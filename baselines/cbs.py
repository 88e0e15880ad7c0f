"""CBS: draw a class uniformly, then one of its videos."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from baselines.presets import AUTHORS
from meid_bench.methods.batch_part import whole_batch
from meid_bench.methods.losses import focal_loss, picked_mask, reduced, unmasked_classes
from meid_bench.methods.method import AggregatorMethod, Batch, Family, MethodConfig, Sampler, Stage


@dataclass(frozen=True)
class CBSConfig(MethodConfig):
    """Settings of CBS and SRS.

    Attributes:
        mask_other_positives: Leave out the loss of a video's positives other than the class for
            which it was drawn.
        reduction: Mean over classes, their sum, or the mean times the number of classes that the
            mask would leave ("unmasked").
    """

    mask_other_positives: bool = False
    reduction: Literal["mean", "sum", "unmasked"] = "mean"


class CBS(AggregatorMethod):
    """Class-balanced sampling: a class uniformly, then one of its videos.

    Reference:
        Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition
        (ICLR 2020), eq. 1 with q = 0; VideoLT's ResamplingDataset_Mask and rs_train
        (ops/feature_loader.py and base_main.py at 1732d5c).

    Differs:
        That code masks the other positives and sums the loss over classes (preset "videolt").
        With 6.9 labels a video the mask drops most positives, and the sum makes every step about
        C times larger, so that the gradient clip decides its size: neither holds by default. In
        MEID's authors' code the mask comes after the mean: it drops nothing, and leaves a factor
        near C (preset "authors").
    """

    Config: ClassVar[type[MethodConfig]] = CBSConfig
    presets = {  # noqa: RUF012
        "videolt": {"mask_other_positives": True, "reduction": "sum", "lr": 1e-4},
        "authors": {**AUTHORS, "reduction": "unmasked"},
    }
    sampler: ClassVar[Sampler] = "class_balanced"
    family: ClassVar[Family] = "sampler"
    venue: ClassVar[str] = "ICLR 2020"
    config: CBSConfig

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Binary cross-entropy, masked where the settings say so."""
        values = focal_loss(self(batch.features), batch.labels, 0)
        if self.config.mask_other_positives and batch.picked is not None:
            values = values * picked_mask(batch.labels, batch.picked)
        if self.config.reduction == "unmasked":
            return values.mean() * unmasked_classes(whole_batch(batch, batch.labels))
        return reduced(values, self.config.reduction)
