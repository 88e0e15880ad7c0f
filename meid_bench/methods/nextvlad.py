"""NeXtVLAD: as its own authors have it, and as MEID's authors' code has it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meid_bench.methods.layers import (
    Aggregator,
    AggregatorConfig,
    Logits,
    per_frame,
    require_frames,
)
from meid_bench.methods.method import require


@dataclass(frozen=True)
class NeXtVLADConfig(AggregatorConfig):
    """Settings of NeXtVLAD.

    Attributes:
        form: "paper", as its own authors have it, or "meid", as MEID's authors' code has it.
        input_norm: Whether frames are batch-normalised first ("meid").
        clusters: How many cluster centres.
        hidden: Width of the layer before the last.
        groups: Into how many groups the expanded features are cut.
        expansion: By what factor they are expanded.
        dropout: Share of the aggregated vector that is dropped in training ("paper").
        reduction: By what factor the context gate squeezes ("paper").
    """

    form: Literal["paper", "meid"] = "paper"
    input_norm: bool = True
    clusters: int = 64
    hidden: int = 1024
    groups: int = 8
    expansion: int = 2
    dropout: float = 0.5
    reduction: int = 8

    def __post_init__(self) -> None:
        """Refuse sizes below 1 and a share outside [0, 1)."""
        for name in ("clusters", "hidden", "groups", "expansion", "reduction"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.reduction <= self.hidden, "reduction", self.reduction, "at most hidden")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")

    def expanded(self, width_in: int) -> int:
        """Width of the expanded features; refused where the groups do not divide it."""
        wide = self.expansion * width_in
        require(wide % self.groups == 0, "groups", self.groups, f"a divisor of the width {wide}")
        return wide

    def idle(self) -> Mapping[str, str]:
        """MEID's authors' form has neither dropout nor a gate, the paper's no norm before it."""
        if self.form == "paper":
            return {"input_norm": 'form "paper" has none'}
        return dict.fromkeys(("dropout", "reduction"), 'form "meid" has neither dropout nor a gate')

    @property
    def all_frames(self) -> bool:
        """MEID's authors' form normalises each frame position by itself."""
        return self.form == "meid"


class NeXtVLAD(Aggregator):
    """NeXtVLAD: expanded features in groups, each softly assigned to clusters, gated context.

    Parameters: D E + E (expansion) + E G + G (attention) + E G K + 2 G K (assignment) + W K
    (centres) + 2 W K (norm) + W K H + 2 H (hidden) + 2 H S + 2 S (gate) + H O + O, for width_in D,
    width_out O, E = expansion * D, G groups, W = E / G, K clusters, hidden H, S = H // reduction.

    Reference:
        Lin, Xiao, Fan (ECCV 2018 Workshops), section 3, and its authors' nextvlad.py: 64 clusters
        and hidden 1024 are that code's defaults (128 and 2048 their large model).

    Differs:
        One stream (frames) instead of two (frames and sound). The vector is flattened cluster by
        cluster, and weights begin as torch has them; there feature by feature, and otherwise.
    """

    Config: ClassVar[type[AggregatorConfig]] = NeXtVLADConfig

    def __init__(self, width_in: int, width_out: int, config: NeXtVLADConfig) -> None:
        super().__init__()
        wide = config.expanded(width_in)
        self.groups, self.clusters = config.groups, config.clusters
        width = wide // config.groups
        squeezed = config.hidden // config.reduction
        self.expand = nn.Linear(width_in, wide)
        self.attend = nn.Linear(wide, config.groups)
        self.assign = nn.Linear(wide, config.groups * config.clusters, bias=False)
        self.assign_norm = nn.BatchNorm1d(config.groups * config.clusters)
        self.centres = nn.Parameter(torch.randn(config.clusters, width) / math.sqrt(width))
        self.vlad_norm = nn.BatchNorm1d(config.clusters * width)
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(config.clusters * width, config.hidden, bias=False)
        self.hidden_norm = nn.BatchNorm1d(config.hidden)
        self.squeeze = nn.Linear(config.hidden, squeezed, bias=False)
        self.squeeze_norm = nn.BatchNorm1d(squeezed)
        self.excite = nn.Linear(squeezed, config.hidden, bias=False)
        self.output = Logits(config.hidden, width_out)

    def embed(self, x: Tensor) -> Tensor:
        """(B, T, width_in) -> (B, hidden)."""
        batch, frames, _ = x.shape
        x = self.expand(x)
        attention = self.attend(x).sigmoid().view(batch, frames * self.groups, 1)
        assignment = per_frame(self.assign_norm, self.assign(x))
        assignment = assignment.view(batch, frames * self.groups, self.clusters).softmax(-1)
        assignment = assignment * attention
        grouped = x.view(batch, frames * self.groups, self.centres.shape[1])
        vlad = assignment.transpose(1, 2) @ grouped
        vlad = vlad - assignment.sum(1).unsqueeze(-1) * self.centres
        vlad = self.vlad_norm(F.normalize(vlad, dim=2).flatten(1))
        hidden = self.hidden_norm(self.hidden(self.dropout(vlad)))
        gate = self.excite(F.relu(self.squeeze_norm(self.squeeze(hidden)))).sigmoid()
        gated: Tensor = hidden * gate
        return gated


class MEIDNeXtVLAD(Aggregator):
    """NeXtVLAD as MEID's authors' code has it, for videos of T frames.

    Parameters: 2 D (input) + D E + E (expansion) + E G + G (attention) + E G K + G K + 2 T
    (assignment) + W K (centres) + 2 (norm) + W K H + 2 H (hidden) + H O + O, letters as above.

    Reference:
        MEID's authors' NeXtVLAD and NeXtVLADModel (models/net_module.py and models.py of
        github.com/abcdvzz/MEID at be39ade). Unlike the paper's form it normalises assignments over
        videos and clusters of each frame position, each cluster's residuals to a sum of absolute
        values of 1, and the whole vector by one mean and deviation; it has no dropout and no gate.

    Raises:
        MethodError: A video has another number of frames than `frames`.
    """

    def __init__(self, width_in: int, width_out: int, config: NeXtVLADConfig, frames: int) -> None:
        super().__init__()
        wide = config.expanded(width_in)
        self.groups, self.clusters, self.frames = config.groups, config.clusters, frames
        width = wide // config.groups
        self.input_norm = nn.BatchNorm1d(width_in) if config.input_norm else None
        self.expand = nn.Linear(width_in, wide)
        self.attend = nn.Linear(wide, config.groups)
        self.assign = nn.Linear(wide, config.groups * config.clusters)
        self.assign_norm = nn.BatchNorm1d(frames)
        self.centres = nn.Parameter(torch.rand(width, config.clusters))
        self.vlad_norm = nn.BatchNorm1d(1)
        self.hidden = nn.Linear(width * config.clusters, config.hidden, bias=False)
        self.hidden_norm = nn.BatchNorm1d(config.hidden)
        self.output = Logits(config.hidden, width_out)

    def embed(self, x: Tensor) -> Tensor:
        """(B, T, width_in) -> (B, hidden)."""
        require_frames(x, self.frames, 'NeXtVLAD in the form "meid"')
        videos = len(x)
        x = self.expand(x if self.input_norm is None else per_frame(self.input_norm, x))
        shape = (videos, self.frames * self.groups, -1)
        assignment = self.assign_norm(self.assign(x)).reshape(shape).softmax(-1)
        assignment = assignment * self.attend(x).sigmoid().reshape(shape)
        vlad = x.reshape(shape).transpose(1, 2) @ assignment
        vlad = vlad - assignment.sum(1, keepdim=True) * self.centres
        vlad = F.normalize(vlad, p=1, dim=1).reshape(videos, 1, -1)
        hidden = self.hidden_norm(self.hidden(self.vlad_norm(vlad).squeeze(1)))
        return F.relu6(hidden)
