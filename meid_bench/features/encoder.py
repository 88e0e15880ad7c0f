"""Encoder: an image model up to its pooled features, with its transform and its precision."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.fx.experimental.optimization import fuse
from torchvision import models

from meid_bench.device import has_bfloat16, require_compiler
from meid_bench.errors import SettingError, unknown
from meid_bench.features.networks import (
    DEFAULT,
    SEGMENT,
    TSM,
    download,
    empty_model,
    fill,
    load_file,
    random_model,
    random_seed,
    tensors_sha256,
    torchvision_weights,
)
from meid_bench.features.transform import Transform

PRECISIONS = ("float32", "bfloat16")
# Measured: on a processor, more frames at once only push each other out of its caches.
CPU_BATCH, GPU_BATCH = 8, 128


@dataclass(eq=False)
class Encoder:
    """Turns pictures into feature vectors.

    Attributes:
        name: Name of the model.
        weights: Name of the weights as it was given.
        weights_sha256: Of the weights' tensors.
        untrained: The weights are random.
        transform: From frames to pictures, and what the model is shown of those.
        width: D.
        segment: Frames that the model looks at together; 1 for an image model.
        device: Where it computes.
        precision: "float32" or "bfloat16", with ", compiled" behind it where it is.
        batch: Pictures of every forward pass; the last is filled up with black ones, so that a
            picture's features depend neither on its neighbours nor on where a run began.
        model: (B, 3, S, S) -> (B, D).
    """

    name: str
    weights: str
    weights_sha256: str
    untrained: bool
    transform: Transform
    width: int
    segment: int
    device: torch.device
    precision: str
    batch: int
    model: nn.Module

    def picture(self, frame: NDArray[np.uint8]) -> torch.Tensor:
        """Resize and crop a frame, (H, W, 3) uint8 to (3, S, S) uint8."""
        return self.transform.picture(frame)

    def launch(self, pictures: torch.Tensor) -> Callable[[], NDArray[np.float16]]:
        """Begin to encode one full batch.

        Args:
            pictures: (batch, 3, S, S) uint8; left alone until the result has been taken. Pinned
                memory is copied to a GPU while that computes.

        Returns:
            A function that waits for the features, (batch, D) float16, not all of them finite
            where float16 cannot hold them.
        """
        with torch.inference_mode(), self._arithmetic():
            shown = self.transform.normalise(pictures.to(self.device, non_blocking=True))
            if self.precision.startswith("bfloat16"):
                shown = shown.to(torch.bfloat16, memory_format=torch.channels_last)
            features = self.model(shown).to(torch.float16)
            if self.device.type != "cuda":
                ready = features.cpu().numpy()
                return lambda: ready
            landed = torch.empty(features.shape, dtype=torch.float16, pin_memory=True)
            landed.copy_(features, non_blocking=True)
            event = torch.cuda.current_stream(self.device).record_event()

        def result() -> NDArray[np.float16]:
            event.synchronize()
            values: NDArray[np.float16] = landed.numpy()
            return values

        return result

    def _arithmetic(self) -> AbstractContextManager[None]:
        """Float32 on a GPU without TF32, and the same algorithm whenever the same is computed."""
        if self.device.type != "cuda":
            return nullcontext()
        # torch's default for `enabled` is off.
        return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)

    def encode(self, pictures: torch.Tensor) -> NDArray[np.float16]:
        """Encode the pictures of one video.

        Args:
            pictures: (n, 3, S, S) uint8, n >= 1, in the order of time.

        Returns:
            (n, D) float16.
        """
        padded = torch.zeros((self.batch, *pictures.shape[1:]), dtype=torch.uint8)
        parts = []
        for start in range(0, len(pictures), self.batch):
            part = pictures[start : start + self.batch]
            padded[: len(part)] = part
            padded[len(part) :] = part[-1] if self.segment > 1 else 0
            parts.append(self.launch(padded)()[: len(part)])
        return np.concatenate(parts)


def load_encoder(
    name: str = "resnet101",
    weights: str = DEFAULT,
    device: torch.device | str = "cpu",
    precision: str | None = None,
    batch: int | None = None,
    compiled: bool = False,
) -> Encoder:
    """Load an encoder, ready to encode.

    Args:
        name: A classification model of torchvision's, or "tsm_resnet50".
        weights: A name of torchvision's, a file, or "random:SEED".
        device: Where to compute.
        precision: "float32" or "bfloat16"; where it is left out, bfloat16 if the device
            computes with it. bfloat16 folds BatchNorm into the convolutions.
        batch: Pictures a forward pass; 8 on a CPU and 128 on a GPU where it is left out.
        compiled: Compile the model with torch.compile; on a CPU that takes a C++ compiler.

    Raises:
        MeidBenchError: A name is unknown, or the weights cannot be had.
    """
    device = torch.device(device)
    known = [*models.list_models(module=models), TSM]
    if name not in known:
        raise unknown("encoder", name, known)
    if precision is None:
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    model, transform = _model(name, weights)
    width = _cut_head(model, name)
    sha256 = tensors_sha256(model)
    segment = SEGMENT if name == TSM else 1
    batch = batch or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)
    if batch % segment:
        raise SettingError(f"--batch {batch} must be a multiple of {segment} for {name}")
    return Encoder(
        name=name,
        weights=_short(weights),
        weights_sha256=sha256,
        untrained=random_seed(weights) is not None,
        transform=transform,
        width=width,
        segment=segment,
        device=device,
        precision=precision + (", compiled" if compiled else ""),
        batch=batch,
        model=_prepared(model, device, precision, compiled),
    )


def _model(name: str, weights: str) -> tuple[nn.Module, Transform]:
    """The model with its weights and the transform that belongs to them."""
    seed = random_seed(weights)
    if seed is not None:
        return random_model(name, seed), _default_transform(name)
    if _is_file(weights):
        model = empty_model(name)
        fill(model, load_file(Path(weights)), _head_name(model, name), weights)
        return model, _default_transform(name)
    if name == TSM:
        raise SettingError(
            f"torchvision has no weights of {TSM}; give the authors' checkpoint with "
            "--weights FILE, or --weights random:SEED (untrained)"
        )
    entry = torchvision_weights(name, weights)
    download(entry)
    return models.get_model(name, weights=entry), Transform.of(entry.transforms())


def _is_file(weights: str) -> bool:
    return Path(weights).suffix in (".pth", ".pt", ".tar", ".safetensors") or "/" in weights


def _short(weights: str) -> str:
    """A name fit for folders and tables: of a file its stem."""
    return Path(weights).stem if _is_file(weights) else weights


def _default_transform(name: str) -> Transform:
    if name == TSM:
        return Transform()  # Resize 256, crop 224, ImageNet's mean and std, as its authors test.
    return Transform.of(torchvision_weights(name, DEFAULT).transforms())


def _head_name(model: nn.Module, name: str) -> str:
    """Name of the last linear layer: the classifier."""
    names: list[str] = [
        layer for layer, module in model.named_modules() if isinstance(module, nn.Linear)
    ]
    if not names:
        raise SettingError(
            f"Encoder {name} has no linear classifier to take off; choose another, "
            "for example resnet101"
        )
    return names[-1]


def _cut_head(model: nn.Module, name: str) -> int:
    """Take the classifier off, so that the model ends with what it was shown; that one's width."""
    path = _head_name(model, name)
    parent, _, leaf = path.rpartition(".")
    width = int(cast(nn.Linear, model.get_submodule(path)).in_features)
    model.get_submodule(parent).register_module(leaf, nn.Identity())
    return width


def _prepared(model: nn.Module, device: torch.device, precision: str, compiled: bool) -> nn.Module:
    model = model.eval().requires_grad_(False)
    if precision == "bfloat16":
        if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
            model = fuse(model)  # In float32: folded after rounding, the error would double.
        model = model.to(torch.bfloat16).to(memory_format=torch.channels_last)
    model = model.to(device)
    if compiled:
        require_compiler(device)
        options: Any = {"freezing": True} if device.type == "cpu" else None
        model = cast(nn.Module, torch.compile(model, options=options))
    return model
