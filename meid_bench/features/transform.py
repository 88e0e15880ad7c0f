"""Transform: from a decoded frame to the picture that an encoder takes."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional


@dataclass(frozen=True)
class Transform:
    """Resize the shorter side, crop the centre, normalise: torchvision's preset in two steps.

    Decoder processes resize and crop, in uint8; normalisation runs on the encoder's device.

    Attributes:
        resize: Length of the shorter side, in pixels.
        crop: Side of the square, S.
        mean: Per channel, of values in [0, 1].
        std: Per channel.
        interpolation: A name of torchvision's, "bilinear" or "bicubic".

    Differs:
        torchvision's presets resize PIL images; on tensors, with antialias, features differ by
        a cosine of 0.99996, in a third of the time.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"

    @classmethod
    def of(cls, preset: Any) -> "Transform":
        """That of one of torchvision's `ImageClassification` presets."""
        return cls(
            resize=preset.resize_size[0],
            crop=preset.crop_size[0],
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            interpolation=preset.interpolation.value,
        )

    def __str__(self) -> str:
        """In words, as it stands in the recipe."""
        return (
            f"resize shorter side to {self.resize} ({self.interpolation}, antialias, uint8), "
            f"centre crop {self.crop}, mean {self.mean}, std {self.std}"
        )

    def picture(self, frame: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """Resize and crop one frame (H, W, 3) uint8, wherever it is, to (3, S, S) uint8 here."""
        if isinstance(frame, np.ndarray):
            frame = torch.from_numpy(np.ascontiguousarray(frame))
        image = frame.permute(2, 0, 1)
        mode = InterpolationMode(self.interpolation)
        image = functional.resize(image, [self.resize], interpolation=mode, antialias=True)
        cropped: torch.Tensor = functional.center_crop(image, [self.crop, self.crop])
        return cropped.cpu()

    def normalise(self, pictures: torch.Tensor) -> torch.Tensor:
        """Normalise (n, 3, S, S) uint8 to the model's input, (n, 3, S, S) float32."""
        mean, std = _channels(self.mean, pictures.device), _channels(self.std, pictures.device)
        return (pictures.float() / 255 - mean) / std


@dataclass(frozen=True)
class PilTransform(Transform):
    """Timm's evaluation transform up to bytes, with PIL's own resampling; then normalised.

    Attributes:
        mode: "center": resize the shorter side and crop; "squash": both sides, whatever the shape
            becomes, and crop; "border": the longer side, and pad with the mean.

    Reference:
        timm 1.0.31, data/transforms_factory.py, transforms_imagenet_eval.
    """

    mode: str = "center"

    def __str__(self) -> str:
        """In words, as it stands in the recipe."""
        side = {"center": "shorter side", "squash": "both sides", "border": "longer side"}
        crop = "crop or pad" if self.mode == "border" else "crop"
        return (
            f"resize {side[self.mode]} to {self.resize} ({self.interpolation}, PIL), "
            f"centre {crop} {self.crop}, mean {self.mean}, std {self.std}"
        )

    def picture(self, frame: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """Resize and crop one frame (H, W, 3) uint8, wherever it is, to (3, S, S) uint8 here."""
        image = Image.fromarray(frame if isinstance(frame, np.ndarray) else frame.cpu().numpy())
        size = [self.resize] if self.mode == "center" else [self.resize, self.resize]
        if self.mode == "border":
            ratio = max(image.size) / self.resize
            size = [round(image.height / ratio), round(image.width / ratio)]
        image = functional.resize(image, size, interpolation=InterpolationMode(self.interpolation))
        if self.mode == "border":
            image = self._padded(image)
        cropped: torch.Tensor = functional.pil_to_tensor(
            functional.center_crop(image, [self.crop, self.crop])
        )
        return cropped

    def _padded(self, image: Image.Image) -> Image.Image:
        """With borders of the mean's colour up to the square that is cropped."""
        short = [max(0, self.crop - side) for side in image.size]
        border = [side // 2 for side in short] + [(side + 1) // 2 for side in short]
        fill = [round(255 * value) for value in self.mean]
        padded: Image.Image = functional.pad(image, border, fill=fill)
        return padded


@lru_cache
def _channels(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """A number per channel, (1, 3, 1, 1); cached, since making it waits for the GPU."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)
