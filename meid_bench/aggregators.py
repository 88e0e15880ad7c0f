"""Aggregators: from frame features (B, T, width_in) to one vector a video, (B, width_out)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meid_bench.errors import unknown
from meid_bench.method import MakeAggregator, require


@dataclass(frozen=True)
class AggregatorConfig:
    """Settings of an aggregator; every one has its own."""


class Logits(nn.Linear):
    """A last layer in float32: bfloat16 has so few digits that it would tie many scores."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in) -> (B, width_out) float32."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


@dataclass(frozen=True)
class NonlinearConfig(AggregatorConfig):
    """Settings of Nonlinear."""

    dropout: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a share outside [0, 1)."""
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")


class Nonlinear(nn.Module):
    """Two linear layers on each frame, averaged over frames.

    Parameters: D^2 + D + D O + O for width_in D and width_out O.

    Reference: VideoLT's NonlinearClassifier (models/models.py at 1732d5c).

    Differs:
        The average comes before the last layer. The mean of a linear layer's outputs is its
        output for the mean, so that the numbers agree and T times less is computed.
    """

    Config: ClassVar[type[AggregatorConfig]] = NonlinearConfig

    def __init__(self, width_in: int, width_out: int, config: NonlinearConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(width_in, width_in)
        self.dropout = nn.Dropout(config.dropout)
        self.output = Logits(width_in, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width_in) -> (B, width_out)."""
        hidden: Tensor = self.dropout(F.relu(self.hidden(x)))
        output: Tensor = self.output(hidden.mean(1))
        return output


@dataclass(frozen=True)
class NetVLADConfig(AggregatorConfig):
    """Settings of NetVLAD."""

    clusters: int = 64
    hidden: int = 1024

    def __post_init__(self) -> None:
        """Refuse sizes below 1."""
        require(self.clusters >= 1, "clusters", self.clusters, "at least 1")
        require(self.hidden >= 1, "hidden", self.hidden, "at least 1")


class NetVLAD(nn.Module):
    """NetVLAD as VideoLT has it: a sigmoid gate per cluster and feature instead of a centre.

    Parameters: 2 D + D K + 2 K + K D + K D H + 2 H + H O + O for width_in D, K clusters,
    hidden H and width_out O.

    Reference:
        Arandjelovic et al. (CVPR 2016), eq. 4, in the gated form of VideoLT's NetVLADModel and
        NetVLAGD (models/models.py, models/net_module.py at 1732d5c).

    Differs:
        Rows are flattened cluster by cluster, as there; only the normalisation of an all-zero
        row has an epsilon of its own (torch's 1e-12).
    """

    Config: ClassVar[type[AggregatorConfig]] = NetVLADConfig

    def __init__(self, width_in: int, width_out: int, config: NetVLADConfig) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm1d(width_in)
        self.assign = nn.Linear(width_in, config.clusters, bias=False)
        self.assign_norm = nn.BatchNorm1d(config.clusters)
        self.gate = nn.Parameter(torch.empty(config.clusters, width_in))
        nn.init.xavier_normal_(self.gate)
        self.hidden = nn.Linear(config.clusters * width_in, config.hidden, bias=False)
        self.hidden_norm = nn.BatchNorm1d(config.hidden)
        self.output = Logits(config.hidden, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width_in) -> (B, width_out)."""
        x = per_frame(self.input_norm, x)
        assignment = per_frame(self.assign_norm, self.assign(x)).softmax(-1)
        vlad = assignment.transpose(1, 2) @ x * self.gate.sigmoid()
        vlad = F.normalize(F.normalize(vlad, dim=2).flatten(1), dim=1)
        output: Tensor = self.output(F.relu6(self.hidden_norm(self.hidden(vlad))))
        return output


@dataclass(frozen=True)
class NeXtVLADConfig(AggregatorConfig):
    """Settings of NeXtVLAD."""

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


class NeXtVLAD(nn.Module):
    """NeXtVLAD: expanded features in groups, each softly assigned to clusters, gated context.

    Parameters: D E + E (expansion) + E G + G (attention) + E G K + 2 G K (assignment) + W K
    (centres) + 2 W K (norm) + W K H + 2 H (hidden) + 2 H S + 2 S (gate) + H O + O, for width_in D,
    width_out O, E = expansion * D, G groups, W = E / G, K clusters, hidden H, S = H // reduction.

    Reference:
        Lin, Xiao, Fan (ECCV 2018 Workshops), section 3, and its authors' nextvlad.py: 64 clusters
        and hidden 1024 are that code's defaults (128 and 2048 their large model).

    Differs:
        One stream (frames) instead of two (frames and sound), and a linear classifier in place of
        their mixture of logistic experts: width_out may be anything.
    """

    Config: ClassVar[type[AggregatorConfig]] = NeXtVLADConfig

    def __init__(self, width_in: int, width_out: int, config: NeXtVLADConfig) -> None:
        super().__init__()
        wide = config.expansion * width_in
        require(
            wide % config.groups == 0, "groups", config.groups, f"a divisor of the width {wide}"
        )
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

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width_in) -> (B, width_out)."""
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
        output: Tensor = self.output(hidden * gate)
        return output


def per_frame(norm: nn.Module, x: Tensor) -> Tensor:
    """Normalise (B, T, F) over all frames of all videos."""
    normed: Tensor = norm(x.flatten(0, 1))
    return normed.view_as(x)


AGGREGATORS: Mapping[str, Any] = {
    "nonlinear": Nonlinear,
    "netvlad": NetVLAD,
    "nextvlad": NeXtVLAD,
}


def find_aggregator(name: str) -> Any:
    """The aggregator class of that name.

    Raises:
        SettingError: There is none; the nearest name is offered.
    """
    if name not in AGGREGATORS:
        raise unknown("aggregator", name, AGGREGATORS)
    return AGGREGATORS[name]


def aggregator_maker(name: str, config: AggregatorConfig) -> MakeAggregator:
    """What a method calls to get the aggregator that the user chose, at the widths it needs."""
    build = find_aggregator(name)

    def make(width_in: int, width_out: int) -> nn.Module:
        module: nn.Module = build(width_in, width_out, config)
        return module

    return make
