"""MEID's two experts: frame embedding, frame attention, complementary frames, motion."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meid_bench.methods.layers import Aggregator, MakeAggregator, per_frame

AttentionKind = Literal["scaled_softmax", "sigmoid", "softmax", "none"]
Norm = Literal["layer", "batch", "none"]
AppliesTo = Literal["embedding", "features"]
Selection = Literal["complementary", "attention", "none"]


class FrameEmbedding(nn.Module):
    """Normalisation, a linear layer and ReLU on each frame, (B, T, D) -> (B, T, D).

    Reference: MEID (AAAI 2023), eq. 2 and the sentence below it.
    """

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        norms = {"layer": nn.LayerNorm, "batch": FrameBatchNorm, "none": nn.Identity}
        self.norm: nn.Module = norms[norm](width)
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return F.relu(self.linear(self.norm(x)))


class FrameBatchNorm(nn.Module):
    """Batch normalisation over all frames of all videos, for (B, T, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return per_frame(self.norm, x)


class FrameAttention(nn.Module):
    """How much each frame counts, from its features: two linear layers with ReLU between.

    The weights are, by `kind`: "scaled_softmax", softmax over frames times T, with mean 1;
    "softmax", with sum 1; "sigmoid", each in (0, 1); "none", 1 for every frame.

    Reference: MEID (AAAI 2023), eq. 3; the paper names two linear layers and no normalisation.

    Differs:
        The factor T is our inference: without it A is near 1/T and eq. 8 gives every frame the
        same R. The width between the layers is not in the paper.
    """

    def __init__(self, width: int, hidden: int, kind: AttentionKind) -> None:
        super().__init__()
        self.kind = kind
        if kind != "none":
            self.hidden = nn.Linear(width, hidden)
            self.score = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T) float32."""
        if self.kind == "none":
            return x.new_ones(x.shape[:2], dtype=torch.float32)
        scores: Tensor = self.score(F.relu(self.hidden(x))).squeeze(-1).float()
        if self.kind == "sigmoid":
            return scores.sigmoid()
        weights = scores.softmax(1)
        return weights * x.shape[1] if self.kind == "scaled_softmax" else weights


class FirstExpert(nn.Module):
    """Embedding weighted by attention, aggregated to logits.

    Reference:
        MEID (AAAI 2023), eq. 2 to 4; the aggregator with its last layer stands for eq. 4's Linear.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        make_aggregator: MakeAggregator,
        attention: AttentionKind = "scaled_softmax",
        attention_width: int = 512,
        attention_on: AppliesTo = "embedding",
        norm: Norm = "layer",
    ) -> None:
        super().__init__()
        self.attention_on = attention_on
        self.embedding = FrameEmbedding(width, norm)
        self.attention = FrameAttention(width, attention_width, attention)
        self.aggregator = make_aggregator(width, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> logits (B, C) and attention weights A (B, T)."""
        frames, weights = self.weighted(x)
        return self.aggregator(frames), weights

    def weighted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> what is aggregated, (B, T, D), and attention weights A (B, T)."""
        weights = self.attention(x)
        column = weights.unsqueeze(-1).to(x.dtype)
        if self.attention_on == "embedding":
            return self.embedding(x) * column, weights
        return self.embedding(x * column), weights


class FirstExpertNetwork(Aggregator):
    """The first expert as a mere map from frames to logits: other methods' losses on it."""

    def __init__(self, width_in: int, width_out: int, make_aggregator: MakeAggregator) -> None:
        super().__init__()
        self.expert = FirstExpert(width_in, width_out, make_aggregator)

    @property
    def output(self) -> nn.Module:  # type: ignore[override]  # one module, registered once
        """The aggregator's last layer."""
        return self.expert.aggregator.output

    def embed(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, hidden)."""
        return self.expert.aggregator.embed(self.expert.weighted(x)[0])


def first_expert_network(make_aggregator: MakeAggregator) -> MakeAggregator:
    """Put the first expert's embedding and attention before every aggregator: `--network e1`."""

    def make(width_in: int, width_out: int) -> Aggregator:
        return FirstExpertNetwork(width_in, width_out, make_aggregator)

    return make


def complementary_weights(attention: Tensor, beta: float) -> Tensor:
    """R = 1 / (A + beta), (B, T): large where the first expert looks little.

    Reference: MEID (AAAI 2023), eq. 8.
    """
    return 1 / (attention + beta)


def motion_features(x: Tensor) -> Tensor:
    """The T-1 differences of adjacent frames, then the mean frame: (B, T, D) -> (B, T, D).

        frames       x1  x2  x3  x4
        differences    d1  d2  d3        d_t = x_{t+1} - x_t
        result       d1  d2  d3  mean

    Reference: MEID (AAAI 2023), eq. 10.
    """
    return torch.cat([x[:, 1:] - x[:, :-1], x.mean(1, keepdim=True)], dim=1)


class SecondExpert(nn.Module):
    """Frames that the first expert looks at little, with their motion, aggregated to logits.

    Reference:
        MEID (AAAI 2023), eq. 8 to 12; the concatenation of eq. 11 is along features, and the
        aggregator with its last layer stands for eq. 12's Linear.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        make_aggregator: MakeAggregator,
        selection: Selection = "complementary",
        beta: float = 0.5,
        motion: bool = True,
        norm: Norm = "layer",
    ) -> None:
        super().__init__()
        self.selection = selection
        self.beta = beta
        self.embedding = FrameEmbedding(width, norm)
        self.motion_embedding = FrameEmbedding(width, norm) if motion else None
        self.fuse = nn.Linear(2 * width if motion else width, width)
        self.aggregator = make_aggregator(width, classes)

    def weights(self, attention: Tensor) -> Tensor:
        """Weights of the frames (B, T), from the first expert's attention A (B, T)."""
        if self.selection == "complementary":
            return complementary_weights(attention, self.beta)
        return attention if self.selection == "attention" else torch.ones_like(attention)

    def forward(self, x: Tensor, attention: Tensor) -> Tensor:
        """(B, T, D) and A (B, T) -> logits (B, C)."""
        column = self.weights(attention).unsqueeze(-1).to(x.dtype)
        fused = self.embedding(x) * column
        if self.motion_embedding is not None:
            fused = torch.cat([fused, self.motion_embedding(motion_features(x))], dim=-1)
        logits: Tensor = self.aggregator(self.fuse(fused))
        return logits
