"""ClipTransform: from a decoded frame to the picture that a video model takes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as preset_functional
from torchvision.transforms.v2 import functional

from meid_bench.features.transform import Transform


@dataclass(frozen=True)
class ClipTransform(Transform):
    """As `Transform`, with the habits that libraries have for video models.

    Attributes:
        resize: Length of the shorter side, or the height where `width` is given.
        width: Of the resized frame, whatever its shape was; 0 keeps the shape.
        antialias: Whether resizing smooths; torchvision's video models were measured without.
        floored: Whether the crop's corner is rounded down, as transformers does.
    """

    width: int = 0
    antialias: bool = True
    floored: bool = False

    @classmethod
    def of(cls, preset: Any) -> "ClipTransform":
        """That of one of torchvision's `VideoClassification` presets, equal to the bit."""
        height, *width = preset.resize_size
        return cls(
            resize=height,
            crop=preset.crop_size[0],
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            interpolation=preset.interpolation.value,
            width=width[0] if width else 0,
            antialias=False,
        )

    def __str__(self) -> str:
        """In words, as it stands in the recipe."""
        size = f"{self.resize} x {self.width}" if self.width else f"shorter side to {self.resize}"
        corner = " (corner rounded down)" if self.floored else ""
        return (
            f"resize {size} ({self.interpolation}, {'' if self.antialias else 'no '}antialias, "
            f"uint8), centre crop {self.crop}{corner}, mean {self.mean}, std {self.std}"
        )

    def picture(self, frame: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """Resize and crop one frame (H, W, 3) uint8, wherever it is, to (3, S, S) uint8 here."""
        if isinstance(frame, np.ndarray):
            frame = torch.from_numpy(np.ascontiguousarray(frame))
        image = frame.permute(2, 0, 1)
        # Without antialias the two functions round differently; the presets are of the first.
        resize = functional.resize if self.antialias else preset_functional.resize
        size = [self.resize, self.width] if self.width else [self.resize]
        mode = InterpolationMode(self.interpolation)
        image = resize(image, size, interpolation=mode, antialias=self.antialias)
        crop = [self.crop, self.crop]
        if self.floored and min(image.shape[1:]) >= self.crop:
            top, left = ((side - self.crop) // 2 for side in image.shape[1:])
            cropped: torch.Tensor = functional.crop(image, top, left, *crop)
        else:
            cropped = functional.center_crop(image, crop)
        return cropped.cpu()
