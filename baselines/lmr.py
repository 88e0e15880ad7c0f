"""LMR: retrain the last layer on videos that are partly rebuilt from others, the rarer the more."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.crt import CRT, CRTConfig
from meid_bench.methods.batch_part import places, whole_batch
from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.method import Batch, MethodConfig, Stage, Task, require, searched


@dataclass(frozen=True)
class LMRConfig(CRTConfig):
    """Settings of LMR; the paper's letters in brackets.

    Attributes:
        strongest: What share of a video of the rarest class is rebuilt (l).
        weakest: The same of the most frequent class (h).
        decay: How soon the share falls with the number of videos (d).
        epsilon: Added to a class's videos before the logarithm; None for 5, or for the rarest
            class's videos where those are more.
        omega: Nothing is rebuilt from videos whose classes have at most so many.
        mixed: Share of the videos that are mixed with another.
        counted: Which of a video's labels say how rare it is: the "rarest", as long as one is
            frequent for what is rebuilt from it, or its "first" alone.
    """

    strongest: float = searched(0.6, (0.6, 1.0))  # of SSv2-LT and of EPIC-KITCHENS
    weakest: float = 0.001
    decay: float = 0.25
    epsilon: float | None = None
    omega: int = 20
    mixed: float = 0.5
    counted: Literal["rarest", "first"] = "rarest"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        for name in ("strongest", "weakest", "mixed"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        require(self.decay > 0, "decay", self.decay, "above 0")
        require(self.epsilon is None or self.epsilon >= 0, "epsilon", self.epsilon, "at least 0")
        require(self.omega >= 0, "omega", self.omega, "at least 0")


class LMR(CRT):
    """cRT whose second stage rebuilds rare classes' videos from frequent ones, then mixes pairs.

    Reference:
        Perrett et al., Use Your Head: Improving Long-Tail Video Recognition (CVPR 2023), eq. 1 to
        7; tools/simple_example.py and VisionTransformer.forward (slowfast/models/
        video_model_builder.py) of github.com/tobyperrett/lmr-release at a85ab2a, with the settings
        of its SSv2-LT (preset "epic": of EPIC-KITCHENS).

    Differs:
        That code takes a video's first label for all of them: here nothing is rebuilt from a video
        only if all its labels are rare, and the rarest says how much of it is rebuilt (preset
        "released": the first). Videos are rebuilt from those of their own batch; there also from
        seven batches before, of seven videos each, and the mask that keeps a video from being
        rebuilt from itself then lies on the oldest of them. A video that is left without any other
        stays as it is; there it becomes the mean of all. In the paper's words it is cRT, but the
        configurations train the whole network on (preset "released"). Binary cross-entropy in
        place of softmax; schedule and draws as CRT. epsilon is the code's; simple_example.py's is
        this one times decay.
    """

    Config: ClassVar[type[MethodConfig]] = LMRConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "videolt": CRT.presets["videolt"],
        "epic": {"strongest": 1.0, "weakest": 0.01, "decay": 0.15, "mixed": 1.0},
        "released": {
            "counted": "first",
            "rest": "trained",
            "lr2": 1e-5,
            "epochs2": 35,
            "milestones2": (20, 30),
        },
    }
    venue: ClassVar[str] = "CVPR 2023"
    config: LMRConfig

    def __init__(self, task: Task, config: Any, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        self.strength: Tensor
        self.is_frequent: Tensor
        strength = torch.tensor(rebuilt_shares(task.counts, config))
        is_frequent = torch.tensor([count > config.omega for count in task.counts])
        # They follow from the settings: a saved model need not hold them.
        self.register_buffer("strength", strength, persistent=False)
        self.register_buffer("is_frequent", is_frequent, persistent=False)

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Mean over videos and classes; of rebuilt and mixed videos in the second stage."""
        if not self.retraining:
            return super().loss(batch, stage, epoch)
        labels = whole_batch(batch, batch.labels)
        vectors = whole_batch(batch, self.embedded(batch.features).float())
        vectors = rebuilt(vectors, *self.roles(labels))
        chance, partner, share = batch.uniform(3).unbind(1)
        own_share = torch.where(chance < self.config.mixed, share, 1.0).unsqueeze(1)
        partners = (partner * len(labels)).long().clamp_max(len(labels) - 1)
        vectors, labels = (
            torch.lerp(values[partners], values[places(batch)], own_share)
            for values in (vectors, labels)
        )
        return F.binary_cross_entropy_with_logits(self.classifier(vectors), labels)

    def roles(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """From labels (B, C), of each video: how much is rebuilt, and whether it is a source."""
        if self.config.counted == "first":
            labels = F.one_hot(labels.argmax(1), labels.shape[1])
        return (labels * self.strength).amax(1), (labels * self.is_frequent).amax(1) > 0


def rebuilt_shares(counts: Sequence[int], config: LMRConfig) -> list[float]:
    """What share of a video of each class is rebuilt, C numbers, the largest of the rarest class.

    A class without training videos counts as the rarest of the others.

    Raises:
        SettingError: `decay` is so low that the logarithm would not be positive.

    Reference: eq. 1 and 2, with the h that the paper leaves out.
    """
    least = min((count for count in counts if count), default=1)
    epsilon = max(5, least) if config.epsilon is None else config.epsilon
    bound = 1 / (least + epsilon)
    require(config.decay > bound, "decay", config.decay, f"above {bound:.3g} with these counts")
    rarity = [1 / math.log(config.decay * (max(count, least) + epsilon)) for count in counts]
    lowest = min(rarity)
    spread = (max(rarity) - lowest) or 1.0  # classes of one size are all the most frequent
    span = config.strongest - config.weakest
    return [config.weakest + span * (value - lowest) / spread for value in rarity]


def rebuilt(vectors: Tensor, share: Tensor, is_source: Tensor) -> Tensor:
    """Vectors (B, hidden), of which a share is replaced by a mean of others that are alike.

    Args:
        vectors: (B, hidden) float32.
        share: How much of each is replaced, (B,) in [0, 1].
        is_source: Whether others may be rebuilt from it, (B,) bool; from itself nothing is.

    Reference: eq. 3 to 5.
    """
    videos, hidden = vectors.shape
    itself = torch.eye(videos, dtype=torch.bool, device=vectors.device)
    excluded = itself | ~is_source
    with torch.autocast(vectors.device.type, enabled=False):
        normed = F.layer_norm(vectors, (hidden,))
        alike = (normed @ normed.T / hidden).masked_fill(excluded, -1e9)
        share = share.masked_fill(excluded.all(1), 0.0)
        return torch.lerp(vectors, alike.softmax(1) @ vectors, share.unsqueeze(1))
