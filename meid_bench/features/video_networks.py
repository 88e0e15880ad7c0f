"""Torchvision's video models up to their pooled features: `torchvision:NAME`, encoders of clips."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torchvision import models

from meid_bench.errors import unknown
from meid_bench.features.clip_transform import ClipTransform
from meid_bench.features.encoder_model import Clip, EncoderModel, Listed, matching
from meid_bench.features.encoder_weights import (
    fill,
    is_file,
    load_file,
    random_seed,
    seeded,
    short_name,
)
from meid_bench.features.image_networks import pretrained_model, torchvision_weights

FAMILY = "torchvision"
PREFIX = f"{FAMILY}:"
DEFAULT = "DEFAULT"
# As torchvision measured its own weights: `clip_len` frames at `frame_rate` of 30 a second.
CLIPS = {
    "mc3_18": Clip(16, 2),
    "mvit_v1_b": Clip(16, 4),
    "mvit_v2_s": Clip(16, 4),
    "r2plus1d_18": Clip(16, 2),
    "r3d_18": Clip(16, 2),
    "s3d": Clip(128, 2),
    "swin3d_b": Clip(32, 2),
    "swin3d_s": Clip(32, 2),
    "swin3d_t": Clip(32, 2),
}


class OfClips(nn.Module):
    """A video model that takes the frames of its clips one after the other."""

    def __init__(self, video_model: nn.Module, length: int) -> None:
        super().__init__()
        self.video_model = video_model
        self.length = length

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Encode (B * L, 3, S, S) to (B, D)."""
        clips = frames.unflatten(0, (-1, self.length))  # type: ignore[no-untyped-call]
        features: torch.Tensor = self.video_model(clips.transpose(1, 2))
        return features


class InFloat32(nn.Module):
    """A layer that bfloat16 lacks on a CPU, as S3D's average pooling."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute in float32; the result is of the input's type."""
        out: torch.Tensor = self.layer(x.float())
        return out.to(x.dtype)


def names(pattern: str = "") -> list[Listed]:
    """The encoders whose name has `pattern`."""
    return [_listed(name) for name in matching([PREFIX + name for name in CLIPS], pattern)]


def load(name: str, weights: str | None = None) -> EncoderModel:
    """Load a video model without its classifier.

    Args:
        name: A key of CLIPS.
        weights: A name of torchvision's, a file, or "random:SEED"; where left out, those that
            torchvision calls its best.

    Raises:
        MeidBenchError: The name is unknown, or the weights cannot be had.
    """
    if name not in CLIPS:
        raise unknown("encoder", PREFIX + name, [PREFIX + other for other in CLIPS])
    weights = weights or DEFAULT
    seed, file = random_seed(weights), is_file(weights)
    entry = torchvision_weights(name, DEFAULT if file or seed is not None else weights)
    if seed is not None:
        model = seeded(lambda: _empty(name), seed)
    elif file:
        model = _empty(name)
        fill(model, load_file(Path(weights)), [_head(model)], weights)
    else:
        model, weights = pretrained_model(name, entry), entry.name
    width = _cut_head(model)
    if name == "s3d":
        model.avgpool = InFloat32(cast(nn.Module, model.avgpool))
    return EncoderModel(
        family=FAMILY,
        name=PREFIX + name,
        weights=short_name(weights),
        untrained=seed is not None,
        model=OfClips(model, CLIPS[name].length),
        transform=ClipTransform.of(entry.transforms()),
        width=width,
        clip=CLIPS[name],
        pooling="class token" if name.startswith("mvit") else "mean over time and space",
    )


def _listed(name: str) -> Listed:
    short = name.removeprefix(PREFIX)
    with torch.device("meta"):
        width = _cut_head(_empty(short))
    size = torchvision_weights(short, DEFAULT).transforms().crop_size[0]
    return Listed(name, FAMILY, width, size, CLIPS[short])


def _empty(name: str) -> nn.Module:
    """An untrained model."""
    model: nn.Module = models.get_model(name, weights=None)
    if name == "s3d":  # by torch's default its activations vanish
        for layer in model.modules():
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight)
    return model


def _head(model: nn.Module) -> str:
    """Name of the classifier: the last layer, linear or, in S3D, a convolution of size 1."""
    layers = (nn.Linear, nn.Conv3d)
    found = [str(name) for name, module in model.named_modules() if isinstance(module, layers)]
    return found[-1]


def _cut_head(model: nn.Module) -> int:
    """Replace the classifier by the identity; the width of its input."""
    head = _head(model)
    parent, _, leaf = head.rpartition(".")
    layer = cast(Any, model.get_submodule(head))
    model.get_submodule(parent).register_module(leaf, nn.Identity())
    return int(layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)
