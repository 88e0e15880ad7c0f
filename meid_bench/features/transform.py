"""Transform: from a decoded frame to the picture an encoder takes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional


@dataclass(frozen=True)
class Transform:
    """Resize the shorter side, cut out the centre, normalise: torchvision's preset, taken apart.

    Resize and crop work on uint8 and run where frames are decoded; normalisation runs where
    they are encoded, so that a quarter of the bytes travels between the two.

    Attributes:
        resize: Length of the shorter side, in pixels.
        crop: Side of the square, S.
        mean: Per channel, of values in [0, 1].
        std: Per channel.
        interpolation: A name of torchvision's, "bilinear" or "bicubic".

    Differs:
        torchvision's presets resize PIL images; on tensors, with antialias, features differ by
        a cosine of 0.99996, at a third of the time.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"

    @classmethod
    def of(cls, preset: Callable[..., Any]) -> "Transform":
        """The same as one of torchvision's `ImageClassification` presets."""
        values: Any = preset
        return cls(
            resize=values.resize_size[0],
            crop=values.crop_size[0],
            mean=tuple(values.mean),
            std=tuple(values.std),
            interpolation=values.interpolation.value,
        )

    def __str__(self) -> str:
        """In words, as it stands in the feature fingerprint."""
        return (
            f"resize shorter side to {self.resize} ({self.interpolation}, antialias, uint8), "
            f"centre crop {self.crop}, mean {self.mean}, std {self.std}"
        )

    def picture(self, frame: NDArray[np.uint8]) -> torch.Tensor:
        """Resize and crop one frame (H, W, 3) uint8 to (3, S, S) uint8."""
        image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)
        mode = InterpolationMode(self.interpolation)
        image = functional.resize(image, [self.resize], interpolation=mode, antialias=True)
        cropped: torch.Tensor = functional.center_crop(image, [self.crop, self.crop])
        return cropped

    def normalise(self, pictures: torch.Tensor) -> torch.Tensor:
        """Bring (n, 3, S, S) uint8 to what the model takes, (n, 3, S, S) float32."""
        mean, std = _channels(self.mean, pictures.device), _channels(self.std, pictures.device)
        return (pictures.float() / 255 - mean) / std


@lru_cache
def _channels(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """A number per channel, (1, 3, 1, 1); made once, since a GPU is waited for where it is made."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)
