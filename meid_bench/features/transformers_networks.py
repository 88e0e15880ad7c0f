"""Clip encoders of the library transformers, `transformers:MODEL`: V-JEPA 2 and VideoMAE."""

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from meid_bench.errors import DataError, SettingError, first_line
from meid_bench.features.clip_transform import ClipTransform
from meid_bench.features.encoder_model import Clip, EncoderModel, Listed, matching
from meid_bench.features.encoder_weights import RANDOM, random_seed, seeded

FAMILY = "transformers"
PREFIX = f"{FAMILY}:"
PRETRAINED = "pretrained"
# How far apart a clip's frames are, by the type of model: `frame_step` of the evaluations of
# V-JEPA 2's authors, and `sampling_rate` of VideoMAE's authors on Kinetics.
STRIDES = {"vjepa2": 4, "videomae": 4}
# What they published, to be listed; any other folder or name on the hub will do.
PUBLISHED = {
    "facebook/vjepa2-vitl-fpc64-256": (1024, 256, 64),
    "facebook/vjepa2-vith-fpc64-256": (1280, 256, 64),
    "facebook/vjepa2-vitg-fpc64-256": (1408, 256, 64),
    "facebook/vjepa2-vitg-fpc64-384": (1408, 384, 64),
    "MCG-NJU/videomae-base": (768, 224, 16),
    "MCG-NJU/videomae-base-finetuned-kinetics": (768, 224, 16),
    "MCG-NJU/videomae-large": (1024, 224, 16),
    "MCG-NJU/videomae-large-finetuned-kinetics": (1024, 224, 16),
}


class MeanOfTokens(nn.Module):
    """A video transformer that takes the frames of its clips one after the other."""

    def __init__(self, video_model: nn.Module, length: int) -> None:
        super().__init__()
        self.video_model = video_model
        self.length = length

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Encode (B * L, 3, S, S) to (B, D), the mean of the last layer's tokens."""
        clips = frames.unflatten(0, (-1, self.length))  # type: ignore[no-untyped-call]
        tokens: torch.Tensor = self.video_model(clips.contiguous()).last_hidden_state
        return tokens.mean(dim=1)


def names(pattern: str = "") -> list[Listed]:
    """The published models whose name has `pattern`."""
    known = {PREFIX + name: figures for name, figures in PUBLISHED.items()}
    return [
        Listed(name, FAMILY, known[name][0], known[name][1], _clip("vjepa2", known[name][2]))
        for name in matching(known, pattern)
    ]


def load(name: str, weights: str | None = None) -> EncoderModel:
    """Load a video transformer, with the transform of its video processor.

    Args:
        name: A folder, or a name on the Hugging Face hub.
        weights: A folder with another copy of the model, or "random:SEED"; its own where left out.

    Raises:
        SettingError: The model is not one of clips, or its processor has no transform that can be
            had for square pictures.
        DataError: It cannot be had.
    """
    library = _transformers()
    seed = random_seed(weights or "")
    source = name if seed is not None or weights in (None, PRETRAINED) else str(weights)
    config = _part(library.AutoConfig, source, "config.json")
    if config.model_type not in STRIDES:
        raise SettingError(
            f"Encoder {PREFIX}{name} is of type {config.model_type}, expected one of clips: "
            f"{', '.join(STRIDES)}; images have encoders of timm"
        )
    transform = _transform(_processor(library, source), f"{PREFIX}{name}")
    length = getattr(config, "frames_per_clip", None) or config.num_frames
    if seed is None:
        model: nn.Module = _part(library.AutoModel, source, "weights", dtype=torch.float32)
    else:
        model = seeded(lambda: library.AutoModel.from_config(config), seed)
    encoder = getattr(model, "encoder", None) if config.model_type == "vjepa2" else model
    return EncoderModel(
        family=FAMILY,
        name=PREFIX + (Path(name).name if Path(name).is_dir() else name),
        weights=PRETRAINED if seed is None else f"{RANDOM}{seed}",
        untrained=seed is not None,
        model=MeanOfTokens(encoder or model, length),
        transform=transform,
        width=config.hidden_size,
        clip=_clip(config.model_type, length),
        pooling="mean of the last layer's tokens",
    )


def _clip(kind: str, length: int) -> Clip:
    return Clip(length, STRIDES[kind])


def _transformers() -> ModuleType:
    """The library, imported where it is needed: that takes seconds."""
    import transformers

    return transformers


def _part(kind: Any, source: str, what: str, **options: Any) -> Any:
    """A part of a model, from a folder, the hub's cache, or the hub.

    Raises:
        DataError: It cannot be had.
    """
    try:
        return kind.from_pretrained(source, **options)
    except Exception as error:  # of the hub's client, of HTTP, of a damaged file
        raise DataError(
            f"Cannot get the {what} of {PREFIX}{source} ({first_line(error)}); download that model "
            f"from the Hugging Face hub, and name its folder: --encoder {PREFIX}FOLDER, or "
            "--weights FOLDER"
        ) from error


def _processor(library: Any, source: str) -> Any:
    """The video processor; the hub's older models have its figures in the image processor's file.

    Raises:
        SettingError: There is none.
    """
    try:
        return library.AutoVideoProcessor.from_pretrained(source)
    except Exception as error:  # it may be any, as in `_part`
        raise SettingError(
            f"Encoder {PREFIX}{source} has no video processor that can be read "
            f"({first_line(error)}), so its transform is unknown; choose another"
        ) from error


def _transform(processor: Any, name: str) -> ClipTransform:
    """The transform of a video processor.

    Raises:
        SettingError: It does not resize, crop and normalise to a square.
    """
    size, crop = dict(processor.size or {}), dict(processor.crop_size or {})
    shorter, height, width = (size.get(key) or 0 for key in ("shortest_edge", "height", "width"))
    if not processor.do_center_crop:
        crop = {"height": height, "width": width}
    steps = processor.do_resize and processor.do_rescale and processor.do_normalize
    sized = bool(shorter) != bool(height and width) and not size.get("longest_edge")
    if not (steps and sized and crop.get("height") and crop["height"] == crop.get("width")):
        raise SettingError(
            f"The video processor of {name} resizes to {size} and crops to {crop}, expected one "
            "that resizes, crops a square, rescales and normalises; choose another"
        )
    return ClipTransform(
        resize=int(shorter or height),
        crop=crop["height"],
        mean=tuple(float(value) for value in processor.image_mean),
        std=tuple(float(value) for value in processor.image_std),
        interpolation=("nearest", "lanczos", "bilinear", "bicubic")[int(processor.resample)],
        width=int(width),
        floored=True,
    )
