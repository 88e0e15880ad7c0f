"""MOVE: two views of random frames, extrapolated and mixed; rare classes' targets are raised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.move_network import AttentionView, Classifier, VLADView
from meid_bench.methods.aggregators import NetVLADConfig
from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.method import (
    WHOLE_AGGREGATOR,
    Batch,
    Family,
    Method,
    MethodConfig,
    Stage,
    Task,
    learning_rate,
    require,
)

QUERIES, KEYS, VLADS = slice(0, 2), 2, slice(3, 5)  # of the five selections that a step draws


@dataclass(frozen=True)
class MOVEConfig(MethodConfig):
    """Settings of MOVE.

    Attributes:
        least_frames: As many frames at least are drawn of a video of the rarest classes (lb).
        raised: What is added to the factor of every class's targets, which goes from 0 for the
            most frequent class to 1 for the rarest (calib_bias).
        input_scale: Whether the first batch normalisation learns a scale and a shift.
    """

    lr: float = learning_rate(1e-4)
    least_frames: float = 3.0
    raised: float = 0.5
    input_scale: bool = True

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        require(self.least_frames >= 1, "least_frames", self.least_frames, "at least 1")
        require(self.raised >= 0, "raised", self.raised, "at least 0")

    def idle(self, task: Task) -> Mapping[str, str]:
        """It has no use for an aggregator; of a single vector no frames are drawn."""
        reasons = {WHOLE_AGGREGATOR: "move has its own network"}
        if task.frames == 1:
            reasons["least_frames"] = "a video is a single vector here"
        return reasons


class MOVE(Method):
    """Attention and NetVLAD on random frames, more of frequent classes, and vectors mixed twice.

    It has its own network, whatever aggregator is chosen.

    Reference:
        Moon, Seong, Heo, Minority-Oriented Vicinity Expansion with Attentive Aggregation for
        Video Long-Tailed Recognition (AAAI 2023); VideoLT/MOVE.py, models/models.py, ops/Augment.py
        and scripts/MOVE.sh of github.com/wjun0830/MOVE at 7928daa.

    Differs:
        In that code NetVLAD reads detached copies of the normalised frames, so that the first
        norm's scale and shift never learn (preset "videolt"). The mask over keys has T places,
        there 60 whatever T is. A video of fewer frames than `least_frames` shows all; one without
        labels counts as of the rarest class, and where all classes have one size all do: there
        these fail or give NaN. Draws come from the batch's generator in place of the global ones;
        frames are the runner's, there drawn with replacement; the gradient is clipped, there not;
        the epoch is chosen on val, there on test.
    """

    Config: ClassVar[type[MethodConfig]] = MOVEConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"videolt": {"input_scale": False}}
    family: ClassVar[Family] = "network"
    venue: ClassVar[str] = "AAAI 2023"
    config: MOVEConfig

    def __init__(self, task: Task, config: MOVEConfig, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        self.attention = AttentionView(task.width)
        self.vlad = VLADView(task.width, config.input_scale)
        self.classifier = Classifier(task.width + NetVLADConfig().hidden, task.classes)
        self.frequency: Tensor
        # It follows from the task: a saved model need not hold it.
        self.register_buffer("frequency", frequency(task.counts), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, C)."""
        attended = self.attention(x, x.mean(1, keepdim=True))
        logits: Tensor = self.classifier(torch.cat([attended, self.vlad(x)], dim=2).squeeze(1))
        return logits

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """Cross-entropy of mixed vectors and raised targets, mean over videos and classes."""
        vectors = self.two_vectors(batch.features, self.draw(batch))
        beyond = 1 + uniforms(batch, 3).median()  # Beta(2, 2) is the middle of three uniforms
        vector = torch.lerp(vectors[:, 1], vectors[:, 0], beyond)
        own = uniforms(batch, 1)  # Beta(1, 1) is the uniform distribution
        partner = replace(batch, features=vector).shuffled()
        vector = torch.lerp(partner.features, vector, own)
        labels = torch.lerp(partner.labels, batch.labels, own)
        targets = (labels * (1 - self.frequency + self.config.raised)).clamp(0, 1)
        return F.binary_cross_entropy_with_logits(self.classifier(vector), targets)

    def draw(self, batch: Batch) -> Tensor:
        """Five selections of each video's frames, (B, 5, T) bool, True where a frame is drawn.

        The first two are averaged to the queries, the third is hidden from the keys, and the last
        two are what NetVLAD sees.
        """
        frames = batch.features.shape[1]
        bounds = (self.frequency * frames).clamp_min(self.config.least_frames)
        least = least_frames(batch.labels, bounds, frames).unsqueeze(1)
        chance = batch.uniform(5, 1 + frames)
        count = least + (chance[..., 0] * (frames + 1 - least)).long()
        rank = chance[..., 1:].argsort(2).argsort(2)
        return rank < count.clamp_max(frames).unsqueeze(2)

    def two_vectors(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Frames (B, T, D) and what `draw` gives -> two vectors of each video, (B, 2, D + 1024)."""
        chosen = drawn[:, QUERIES].to(x.dtype)
        queries = chosen @ x / chosen.sum(2, keepdim=True)
        attended = self.attention(x, queries, drawn[:, KEYS])
        return torch.cat([attended, self.vlad(x, drawn[:, VLADS])], dim=2)

    def explain(self, x: Tensor) -> dict[str, Tensor]:
        """How much the attention looks at each frame, mean over heads, (B, T)."""
        return {"attention": self.attention.weights(x, x.mean(1, keepdim=True)).mean((1, 2))}


def frequency(counts: Sequence[int]) -> Tensor:
    """Counts from 0 for the rarest class to 1 for the most frequent, (C,); else all 0."""
    lowest, spread = min(counts), max(counts) - min(counts)
    return torch.tensor([(count - lowest) / max(spread, 1) for count in counts])


def least_frames(labels: Tensor, bounds: Tensor, frames: int) -> Tensor:
    """How many frames at least are drawn of a video, (B,) int64 in 1..T.

    Args:
        labels: (B, C) of 0 and 1.
        bounds: The same for each class, (C,); a video has the mean over its classes.
        frames: T.
    """
    mean = (labels * bounds).sum(1) / labels.sum(1).clamp_min(1)
    return mean.clamp_min(bounds.min()).long().clamp_max(frames)


def uniforms(batch: Batch, count: int) -> Tensor:
    """Random numbers in [0, 1) for the whole batch, (count,)."""
    return torch.rand(count, generator=batch.generator, device=batch.features.device)
