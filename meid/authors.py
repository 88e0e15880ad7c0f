"""MEID as its authors' code has it: FrameStack in both stages, losses, draws and predictions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from meid.authors_network import (
    Attention,
    AuthorsFirstExpert,
    AuthorsNecks,
    AuthorsSecondExpert,
    Fusion,
    Static,
    authors_motion,
)
from meid.distillation import distillation_loss
from meid.experts import complementary_weights
from meid.two_experts import TwoExperts, TwoExpertsConfig
from meid_bench.methods.batch_part import whole_batch
from meid_bench.methods.frame_draws import pairs, stack_frames, with_replacement
from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.losses import focal_loss, unmasked_classes
from meid_bench.methods.method import (
    Batch,
    MethodConfig,
    Stage,
    Task,
    in_epochs,
    learning_rate,
    require,
)


@dataclass(frozen=True)
class MEIDAuthorsConfig(TwoExpertsConfig):
    """Settings of MEIDAuthors; each of the first four has the paper's own as its other value.

    Attributes:
        attention: Weights across "time", or the paper's per "frame" (scaled softmax), or none.
        fusion: Frames and motion are joined along "frames", or along "features" (eq. 11).
        classified: The second stage's loss is on the "second" expert's logits alone and the
            prediction the mean of two sigmoids, or both are of the "sum" of logits (eq. 14).
        ratio: Share of each batch that is stacked by FrameStack; 0 leaves FrameStack out.
        warm_epoch: Videos are stacked after this epoch of a stage.
        static: What follows the differences in the motion feature.
        redraw: In training, draw T frames and T differences, each with replacement and in order;
            otherwise they are taken as they come.
        slips: Do as the scripts do where they slip: see `Differs` of MEIDAuthors.
    """

    lr: float = learning_rate(1e-4)
    attention: Attention = "time"
    fusion: Fusion = "frames"
    classified: Literal["second", "sum"] = "second"
    ratio: float = 0.5
    warm_epoch: int = in_epochs(0)
    static: Static = "sum"
    redraw: bool = True
    slips: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        require(0 <= self.ratio <= 1, "ratio", self.ratio, "in [0, 1]")
        require(self.warm_epoch >= 0, "warm_epoch", self.warm_epoch, "at least 0")

    def idle(self, task: Task) -> Mapping[str, str]:
        """Without stacking there is no first epoch of it."""
        return {"warm_epoch": "ratio=0 stacks nothing"} if self.ratio == 0 else {}


# Whatever the benchmark: the mean frame and a linear layer, or their NeXtVLAD.
_AGGREGATOR: Mapping[str, Any] = {
    "aggregator.hidden_layer": False,
    "aggregator.form": "meid",
    "aggregator.input_norm": False,
}


class MEIDAuthors(TwoExperts):
    """MEID as its authors' code has it: attention over time, FrameStack, loss on the second alone.

    It needs videos of at least 3 frames, and all T of them in training.

    Reference:
        Li and Xu's code, github.com/abcdvzz/MEID at be39ade (models/trans.py, models.py,
        net_module.py, dy_main_ddp_101.py, dy_main_ddp_diff.py, ops/, charades_dy*.sh and
        ddp_train_101.sh, ddp_train_diff.sh). That
        source does not run as it is; compiled files beside it hold what was run, and from those
        alone are: the attention in the first stage (the released one has none, and the second
        stage then freezes a random one), the necks, and NeXtVLAD in both experts.

    Differs:
        The distillation is in no released script, though the names of their checkpoints tell of a
        weight of 0.1: masks, variance and distance are the paper's (eq. 5 to 7), with their necks;
        lambda1=0 and lambda2=0 leave it out. Three slips are mended, and slips=true brings them
        back: frames and motion are stacked with two permutations, the first difference is minus
        the first frame, and the frozen expert's batch normalisation goes on moving. A class's
        running AP, for FrameStack, is measured in eval mode and over all videos; there with
        statistics of the batch and per device, the forward passes for it moving them too. They
        store 200 to 399 frames a video and draw 200 of those, here T of T; their sum of frames is
        longer for that. The epoch is chosen on val each epoch, there every fifth in stage 2. On
        VideoLT their first stage has batches of 6 x 256; here both have the second's, 8 x 128.
    """

    Config: ClassVar[type[MethodConfig]] = MEIDAuthorsConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {"batch": 256, **_AGGREGATOR},
        "videolt": {"batch": 1024, "lr": 1e-3, "lr2": 1e-3, **_AGGREGATOR},
    }
    all_frames: ClassVar[bool] = True
    venue: ClassVar[str] = "AAAI 2023"
    config: MEIDAuthorsConfig

    def __init__(
        self, task: Task, config: MEIDAuthorsConfig, make_aggregator: MakeAggregator
    ) -> None:
        super().__init__(task, config, make_aggregator)
        require(task.frames >= 3, "method", "meid-authors", _TOO_FEW.format(task.frames))
        sizes = (task.width, task.classes, task.frames)
        self.first = AuthorsFirstExpert(*sizes, make_aggregator, config.attention)
        self.second = AuthorsSecondExpert(*sizes, make_aggregator, config.beta, config.fusion)
        groups = task.groups
        self.first_necks = AuthorsNecks(task.classes, groups["head"], groups["tail"])
        self.second_necks = AuthorsNecks(task.classes, groups["head"], groups["tail"])
        self.weighs_frames = config.attention != "none"
        self.running_ap: Tensor
        self.register_buffer("running_ap", torch.zeros(task.classes))

    def experts(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Logits of the first expert (B, C), of the second or None, and A (B, T)."""
        return self._experts(x, self._motion(x))

    def _motion(self, x: Tensor) -> Tensor:
        return authors_motion(x, self.config.static, self.config.slips)

    def _experts(self, frames: Tensor, motion: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        if not self.both:
            logits, attention, _ = self.first(frames)
            return logits, None, attention
        assert self.second is not None
        with torch.no_grad():
            logits, attention, normed = self.first(frames)
        return logits, self.second(normed, attention, motion), attention

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C); of the mean of both experts' probabilities from the second stage on."""
        first, second, _ = self.experts(x)
        if second is None:
            return first
        return (
            first + second if self.config.classified == "sum" else mean_probability(first, second)
        )

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Focal loss of stacked and unstacked videos, and the distillation loss."""
        config = self.config
        frames, motion, labels = batch.features, self._motion(batch.features), batch.labels
        if config.redraw:
            count = self.task.frames
            frames, motion = (with_replacement(x, batch, count) for x in (frames, motion))
        if epoch > config.warm_epoch:
            frames, motion, labels = self._stacked(frames, motion, batch)
        if config.slips and self.training:
            self.first.train()
        first, second, _ = self._experts(frames, motion)
        focal = self._focal(first, second, labels) * self._factor(batch)
        return focal + self.distillation(first if second is None else second, batch)

    def _stacked(
        self, frames: Tensor, motion: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Frames, motion and labels with the first videos of the batch stacked in pairs."""
        together = torch.cat([frames, motion], dim=1)
        both = replace(batch, features=together)
        partner, share = pairs(both, self.running_ap, self.config.ratio, "classes")
        of_frames, of_motion = partner.features.chunk(2, dim=1)
        labels = torch.lerp(batch.labels, partner.labels, share.unsqueeze(1))
        frames = stack_frames(frames, of_frames, share)
        if self.config.slips:
            partner, share = pairs(both, self.running_ap, self.config.ratio, "classes")
            of_motion = partner.features.chunk(2, dim=1)[1]
        return frames, stack_frames(motion, of_motion, share), labels

    def classification(self, first: Tensor, second: Tensor | None, batch: Batch) -> Tensor:
        """Focal loss of the expert in training, or of the sum, on videos as they are."""
        return self._focal(first, second, batch.labels) * self._factor(batch)

    def _focal(self, first: Tensor, second: Tensor | None, labels: Tensor) -> Tensor:
        logits = first if second is None else second
        if second is not None and self.config.classified == "sum":
            logits = first + second
        return focal_loss(logits.float(), labels, self.config.gamma).mean()

    def _factor(self, batch: Batch) -> Tensor | float:
        """What is left of the mask on a drawn video's other positives."""
        return unmasked_classes(whole_batch(batch, batch.labels)) if self.both else 1.0

    def distance(self, head: Tensor, tail: Tensor) -> Tensor:
        """Eq. 7 as printed; the necks' embeddings have length 1."""
        return distillation_loss(head, tail, "batch", "norm")

    def end_epoch(self, stage: Stage, epoch: int, train_ap: Tensor) -> None:
        """Keep the epoch's AP for the next; a class without positives counts as 0."""
        self.running_ap.copy_(train_ap.nan_to_num(0.0))

    def explain(self, x: Tensor) -> dict[str, Tensor]:
        """A and R (B, T), and each expert's logits (B, C)."""
        first, second, attention = self.experts(x)
        parts = {"A": attention, "expert1": first}
        if second is not None:
            parts["expert2"] = second
            parts["R"] = complementary_weights(attention, self.config.beta)
        return parts


_TOO_FEW = "another (--method meid): it looks across at least 3 frames, and these videos have {}"


def mean_probability(first: Tensor, second: Tensor) -> Tensor:
    """Logits (B, C) of the mean of two probabilities, each given as logits (B, C)."""
    positive = torch.logaddexp(F.logsigmoid(first), F.logsigmoid(second))
    return positive - torch.logaddexp(F.logsigmoid(-first), F.logsigmoid(-second))
