"""MOVE's network: a video's frames attended to from their mean, beside their NetVLAD."""

import torch.nn.functional as F
from torch import Tensor, einsum, nn

from meid_bench.methods.aggregators import NetVLAD, NetVLADConfig
from meid_bench.methods.layers import Logits, per_frame

HEADS, HEAD_WIDTH = 4, 512  # of the attention
HIDDEN = 2048  # between the two views and the logits
HIDDEN_KEY = -1e9  # its score; where all are hidden, all weigh alike


class AttentionView(nn.Module):
    """Queries attend to frames, 4 heads of width 512, with a residual and a norm.

    Parameters: 4 * 512 * 4 D + 2 D for frames of width D.

    Reference: MultiHeadAttention_Dynamic_Aggregator (VideoLT/models/models.py).

    Differs:
        Keys and values of every frame are never made: a query goes through the keys' matrix, and
        the weighted frames through the values'. Without biases the numbers are the same, and with
        2 queries for T frames much less is computed.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, HEADS * HEAD_WIDTH, bias=False)
        self.key = nn.Linear(width, HEADS * HEAD_WIDTH, bias=False)
        self.value = nn.Linear(width, HEADS * HEAD_WIDTH, bias=False)
        self.join = nn.Linear(HEADS * HEAD_WIDTH, width, bias=False)
        self.weight_dropout = nn.Dropout(0.1)
        self.dropout = nn.Dropout(0.1)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def weights(self, x: Tensor, queries: Tensor, hidden: Tensor | None = None) -> Tensor:
        """How much a query's heads look at each frame, (B, Q, heads, T) with sum 1 over T.

        Args:
            x: Frames, (B, T, D).
            queries: (B, Q, D).
            hidden: True where a frame is no key, (B, T); None hides none.
        """
        asked = self.query(queries).view(*queries.shape[:2], HEADS, HEAD_WIDTH)
        asked = einsum("bqhk,hkd->bqhd", asked, of_each_head(self.key))
        scores = einsum("bqhd,btd->bqht", asked, x).float() / HEAD_WIDTH**0.5
        if hidden is not None:
            scores = scores.masked_fill(hidden[:, None, None], HIDDEN_KEY)
        weights: Tensor = scores.softmax(-1)
        return weights

    def forward(self, x: Tensor, queries: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Arguments as of `weights`; returns (B, Q, D)."""
        weights = self.weight_dropout(self.weights(x, queries, hidden))
        seen = einsum("bqht,btd->bqhd", weights.to(x.dtype), x)
        found = einsum("bqhd,hkd->bqhk", seen, of_each_head(self.value)).flatten(2)
        attended: Tensor = self.norm(queries + self.dropout(self.join(found)))
        return attended


def of_each_head(layer: nn.Linear) -> Tensor:
    """A layer's matrix cut into heads, (heads, 512, D)."""
    return layer.weight.view(HEADS, HEAD_WIDTH, layer.in_features)


class VLADView(nn.Module):
    """NetVLAD without its last layer, of videos whose frames may be zeroed after the first norm.

    Reference: NetVLAD_Dynamic_Aggregator (VideoLT/models/models.py).
    """

    def __init__(self, width: int, scaled: bool) -> None:
        super().__init__()
        self.vlad = NetVLAD(width, 1, NetVLADConfig())
        self.vlad.output = nn.Identity()
        if not scaled:
            self.vlad.input_norm = nn.BatchNorm1d(width, affine=False)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """A vector of each of V selections of frames.

        Args:
            x: Frames, (B, T, D).
            kept: True where a frame stays, (B, V, T); None for one selection, of all.

        Returns:
            (B, V, 1024).
        """
        x = per_frame(self.vlad.input_norm, x).unsqueeze(1)
        if kept is not None:
            x = x * kept.unsqueeze(-1)
        vectors = self.vlad.pool(x.flatten(0, 1))
        return vectors.view(*x.shape[:2], vectors.shape[1])


class Classifier(nn.Module):
    """Two linear layers, (B, width) -> (B, classes).

    Reference: NonlinearClassifier (VideoLT/models/models.py) on a video of one frame.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, HIDDEN)
        self.dropout = nn.Dropout(0.5)
        self.output = Logits(HIDDEN, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) -> (B, classes)."""
        logits: Tensor = self.output(self.dropout(F.relu(self.hidden(x))))
        return logits
