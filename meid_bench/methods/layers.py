"""Layers: what aggregators and the methods' networks have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from meid_bench.errors import MethodError


@dataclass(frozen=True)
class AggregatorConfig:
    """Settings of an aggregator; every one has its own."""

    def idle(self) -> Mapping[str, str]:
        """Settings that this configuration does not use, each with the reason ("because ...")."""
        return {}

    @property
    def all_frames(self) -> bool:
        """Whether the aggregator needs all T frames in training too."""
        return False


class Logits(nn.Linear):
    """A last layer in float32: bfloat16 has so few digits that it would tie many scores."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in) -> (B, width_out) float32."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Aggregator(nn.Module):
    """From frame features (B, T, width_in) to logits (B, width_out).

    Attributes:
        output: The last layer, which a method may train or replace by itself.
    """

    output: nn.Module

    def embed(self, x: Tensor) -> Tensor:
        """(B, T, width_in) -> (B, hidden), what the last layer reads."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width_in) -> (B, width_out)."""
        logits: Tensor = self.output(self.embed(x))
        return logits


# (width_in, width_out) -> the aggregator that the user chose
MakeAggregator = Callable[[int, int], Aggregator]


def require_frames(x: Tensor, frames: int, name: str) -> None:
    """Refuse videos (B, T, D) of another number of frames than a network is made for.

    Raises:
        MethodError: T is not `frames`.
    """
    if x.shape[1] != frames:
        raise MethodError(
            f"{name} is made for {frames} frames a video and was shown {x.shape[1]}; let training "
            f"see all of them (--set training_frames={frames})"
        )


def per_frame(norm: nn.Module, x: Tensor) -> Tensor:
    """Normalise (B, T, F) over all frames of all videos."""
    normed: Tensor = norm(x.flatten(0, 1))
    return normed.view_as(x)
