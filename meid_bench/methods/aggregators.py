"""Aggregators: from frame features (B, T, width_in) to one vector a video, (B, width_out)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meid_bench.errors import unknown
from meid_bench.methods.layers import (
    Aggregator,
    AggregatorConfig,
    Logits,
    MakeAggregator,
    per_frame,
)
from meid_bench.methods.method import require
from meid_bench.methods.nextvlad import MEIDNeXtVLAD, NeXtVLAD, NeXtVLADConfig


@dataclass(frozen=True)
class NonlinearConfig(AggregatorConfig):
    """Settings of Nonlinear.

    Attributes:
        hidden_layer: Whether there is one; without it, the last layer on the mean frame.
        dropout: Share of the hidden layer's outputs that are dropped in training.
    """

    hidden_layer: bool = True
    dropout: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a share outside [0, 1)."""
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")

    def idle(self) -> Mapping[str, str]:
        """Without the hidden layer nothing is dropped."""
        if self.hidden_layer:
            return {}
        return {"dropout": "there is no hidden layer (hidden_layer=false)"}


class Nonlinear(Aggregator):
    """Two linear layers on each frame, averaged over frames.

    Parameters: D^2 + D + D O + O for width_in D and width_out O; the first two with `hidden_layer`
    only.

    Reference:
        VideoLT's NonlinearClassifier (models/models.py at 1732d5c). Without `hidden_layer`, the
        Linear of MEID's eq. 4 and 12, and the head of its authors' code.

    Differs:
        The average comes before the last layer. The mean of a linear layer's outputs is its
        output for the mean, so that the numbers agree and T times less is computed.
    """

    Config: ClassVar[type[AggregatorConfig]] = NonlinearConfig

    def __init__(self, width_in: int, width_out: int, config: NonlinearConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(width_in, width_in) if config.hidden_layer else None
        self.dropout = nn.Dropout(config.dropout)
        self.output = Logits(width_in, width_out)

    def embed(self, x: Tensor) -> Tensor:
        """(B, T, width_in) -> (B, hidden)."""
        if self.hidden is not None:
            x = self.dropout(F.relu(self.hidden(x)))
        return x.mean(1)


@dataclass(frozen=True)
class NetVLADConfig(AggregatorConfig):
    """Settings of NetVLAD."""

    clusters: int = 64
    hidden: int = 1024

    def __post_init__(self) -> None:
        """Refuse sizes below 1."""
        require(self.clusters >= 1, "clusters", self.clusters, "at least 1")
        require(self.hidden >= 1, "hidden", self.hidden, "at least 1")


class NetVLAD(Aggregator):
    """NetVLAD as VideoLT has it: a sigmoid gate per cluster and feature instead of a centre.

    Parameters: 2 D + D K + 2 K + K D + K D H + 2 H + H O + O for width_in D, K clusters,
    hidden H and width_out O.

    Reference:
        Arandjelovic et al. (CVPR 2016), eq. 4, in the gated form of VideoLT's NetVLADModel and
        NetVLAGD (models/models.py, models/net_module.py at 1732d5c).

    Differs:
        Rows are flattened cluster by cluster, there feature by feature: the columns of the hidden
        layer stand in another order, and nothing else changes.
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

    def embed(self, x: Tensor) -> Tensor:
        """(B, T, width_in) -> (B, hidden)."""
        return self.pool(per_frame(self.input_norm, x))

    def pool(self, x: Tensor) -> Tensor:
        """Normalised frames (B, T, width_in) -> (B, hidden); of a zeroed one nothing is summed."""
        assignment = per_frame(self.assign_norm, self.assign(x)).softmax(-1)
        vlad = assignment.transpose(1, 2) @ x * self.gate.sigmoid()
        vlad = F.normalize(F.normalize(vlad, dim=2).flatten(1), dim=1)
        return F.relu6(self.hidden_norm(self.hidden(vlad)))


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


def aggregator_maker(name: str, config: AggregatorConfig, frames: int) -> MakeAggregator:
    """What a method calls to get the aggregator that the user chose, at the widths it needs.

    Args:
        name: Of the aggregator.
        config: Its settings.
        frames: T of the features, for forms that are made for one number of frames.
    """
    kind = find_aggregator(name)

    def make(width_in: int, width_out: int) -> Aggregator:
        if isinstance(config, NeXtVLADConfig) and config.form == "meid":
            return MEIDNeXtVLAD(width_in, width_out, config, frames)
        aggregator: Aggregator = kind(width_in, width_out, config)
        return aggregator

    return make
