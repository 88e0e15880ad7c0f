"""The two experts as the code of MEID's authors has them, for videos of T frames."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meid.experts import FrameAttention, complementary_weights
from meid_bench.methods.layers import MakeAggregator, per_frame, require_frames
from meid_bench.methods.method import require

Attention = Literal["time", "frame", "none"]
Fusion = Literal["frames", "features"]
Static = Literal["sum", "mean"]

EXPANSION = 8  # of the layer between a frame block's two
FRAME_ATTENTION_WIDTH = 512  # MEID's default, where "frame" stands in for "time"
EPSILON = 1e-6  # of every LayerNorm but the embedding's


class TimeAttention(nn.Module):
    """Squeeze-and-excite over time: each frame's mean feature, then across frames to weights.

    Reference: BGLayer (models/trans.py), for eq. 3 of the paper.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(frames, frames // 3, bias=False)
        self.excite = nn.Linear(frames // 3, frames, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T) float32 in (0, 1)."""
        weights: Tensor = self.excite(F.relu(self.squeeze(x.mean(2)))).float().sigmoid()
        return weights


class FrameBlock(nn.Module):
    """A residual MLP on each frame, then a residual convolution over each feature's neighbours.

    Reference: Mlp_timm and PosConv (models/trans.py).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widen = nn.Linear(width, EXPANSION * width)
        self.narrow = nn.Linear(EXPANSION * width, width)
        self.neighbours = nn.Conv1d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + self.narrow(F.gelu(self.widen(x)))
        convolved: Tensor = self.neighbours(x.transpose(1, 2)).transpose(1, 2)
        return x + convolved


class AuthorsFirstExpert(nn.Module):
    """Normalised frames, embedded and weighted by their attention, aggregated to logits.

    Reference: Trans_Pos_101 (models/models.py, trans.py) with the attention of Twins_Pos_101_v9
        (compiled only), whose checkpoints the second stage's scripts load.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        frames: int,
        make_aggregator: MakeAggregator,
        attention: Attention = "time",
    ) -> None:
        super().__init__()
        self.frames = frames
        self.input_norm = nn.BatchNorm1d(width)
        self.attention: nn.Module
        if attention == "time":
            require(frames >= 3, "attention", attention, f"frame or none for {frames} frames")
            self.attention = TimeAttention(frames)
        else:
            kind: Literal["scaled_softmax", "none"]
            kind = "scaled_softmax" if attention == "frame" else "none"
            self.attention = FrameAttention(width, FRAME_ATTENTION_WIDTH, kind)
        self.embedding = nn.Linear(width, width)
        self.embedding_norm = nn.LayerNorm(width)
        self.residual_norm = nn.LayerNorm(width, EPSILON)
        self.block_norm = nn.LayerNorm(width, EPSILON)
        self.block = FrameBlock(width)
        self.output_norm = nn.LayerNorm(width, EPSILON)
        self.aggregator = make_aggregator(width, classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) -> logits (B, C), weights A (B, T) and the normalised frames (B, T, D)."""
        require_frames(x, self.frames, "The network of MEID's authors")
        normed = per_frame(self.input_norm, x)
        weights = self.attention(normed)
        embedded = self.embedding_norm(self.embedding(normed))
        embedded = self.block_norm(embedded + self.residual_norm(embedded))
        embedded = self.output_norm(self.block(embedded))
        return self.aggregator(embedded * weights.unsqueeze(-1).to(x.dtype)), weights, normed


class AuthorsSecondExpert(nn.Module):
    """Frames that the first expert looks at little and motion, fused and aggregated to logits.

    Reference: Trans_Pos (models/trans.py), the part that it trains.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        frames: int,
        make_aggregator: MakeAggregator,
        beta: float = 0.5,
        fusion: Fusion = "frames",
    ) -> None:
        super().__init__()
        self.beta = beta
        self.fusion = fusion
        self.block = FrameBlock(width)
        self.norm = nn.BatchNorm1d(width)
        self.motion_block = FrameBlock(width)
        self.motion_norm = nn.BatchNorm1d(width)
        fused = frames if fusion == "frames" else width
        self.fuse = nn.Linear(2 * fused, fused)
        self.aggregator = make_aggregator(width, classes)
        self.apply(initialise)

    def forward(self, normed: Tensor, attention: Tensor, motion: Tensor) -> Tensor:
        """Normalised frames (B, T, D), A (B, T) and motion (B, T, D) -> logits (B, C)."""
        weights = complementary_weights(attention, self.beta).unsqueeze(-1).to(normed.dtype)
        chosen = per_frame(self.norm, self.block(normed * weights))
        moved = per_frame(self.motion_norm, self.motion_block(motion))
        if self.fusion == "frames":
            fused = self.fuse(torch.cat([chosen, moved], dim=1).transpose(1, 2)).transpose(1, 2)
        else:
            fused = self.fuse(torch.cat([chosen, moved], dim=2))
        logits: Tensor = self.aggregator(fused)
        return logits


class AuthorsNecks(nn.Module):
    """An embedding of length 1 of the head classes' logits and one of the tail classes', (B, C).

    Reference:
        GraphConv (compiled only), two a stage. That they see head and tail logits, the others set
        to 0, is the paper's (eq. 5 and 6): the masks cannot be recovered.
    """

    def __init__(self, classes: int, head: tuple[int, ...], tail: tuple[int, ...]) -> None:
        super().__init__()
        self.masks: Tensor
        masks = torch.zeros(2, classes)
        masks[0, list(head)] = 1
        masks[1, list(tail)] = 1
        self.register_buffer("masks", masks)
        self.head = nn.Linear(classes, classes)
        self.tail = nn.Linear(classes, classes)
        for layer in (self.head, self.tail):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, C) -> M_head and M_tail, (B, C) each."""
        embedded = [
            F.normalize(F.leaky_relu(layer(logits * mask).float(), 0.2))
            for layer, mask in zip((self.head, self.tail), self.masks, strict=True)
        ]
        return embedded[0], embedded[1]


def initialise(module: nn.Module) -> None:
    """Linear layers as there: weights normal with deviation .02, cut at 2; biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def authors_motion(x: Tensor, static: Static, first_negated: bool = False) -> Tensor:
    """The T - 1 differences of adjacent frames, then their sum or mean: (B, T, D) -> (B, T, D).

    Args:
        x: Frames as they are stored.
        static: What stands last.
        first_negated: Put minus the first frame where the first difference belongs, which is what
            data/charadesego/diff.py makes: it sums into the first frame as it goes.
    """
    moved = x[:, 1:] - x[:, :-1]
    if first_negated:
        moved = torch.cat([-x[:, :1], moved[:, 1:]], dim=1)
    last = x.sum(1, keepdim=True) if static == "sum" else x.mean(1, keepdim=True)
    return torch.cat([moved, last], dim=1)
