"""Encoder: a model of images or clips up to its features, with transform and precision."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.fx.experimental.optimization import fuse

from meid_bench.device import has_bfloat16, require_compiler
from meid_bench.errors import SettingError, unknown
from meid_bench.features.encoder_model import Clip
from meid_bench.features.encoder_weights import tensors_sha256
from meid_bench.features.families import load_model
from meid_bench.features.frames import DecodedFrames, FrameRule
from meid_bench.features.transform import Transform

PRECISIONS = ("float32", "bfloat16")
# On a CPU larger batches are slower: they do not fit into its caches.
CPU_BATCH, GPU_BATCH = 8, 128
BATCHNORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(eq=False)
class Encoder:
    """Turns pictures into feature vectors.

    Attributes:
        name: Name of the model, as `--encoder` takes it.
        family: Whose it is, such as "torchvision" or "timm".
        weights: Name of the weights as it was given.
        weights_sha256: SHA-256 of the weights' tensors.
        untrained: The weights are random.
        transform: From frames to pictures to the model's input.
        width: D.
        clip: Frames that the model sees together.
        pooling: How its vectors become one, in words; "" for an image model's own.
        device: Where it computes.
        precision: "float32" or "bfloat16", and ", compiled" where it is.
        batch: Pictures of every forward pass. The last pass is filled up with black pictures, so
            that equal pictures have equal features wherever they are in a batch.
        model: (B * clip.length, 3, S, S) -> (B * clip.rows, D).
    """

    name: str
    family: str
    weights: str
    weights_sha256: str
    untrained: bool
    transform: Transform
    width: int
    clip: Clip
    pooling: str
    device: torch.device
    precision: str
    batch: int
    model: nn.Module

    @property
    def frames_per_row(self) -> int:
        """Pictures that the model is shown for each row of the features."""
        return self.clip.length // self.clip.rows

    def rule(self, frames: int) -> FrameRule:
        """Which frames of a video T rows of features take."""
        return FrameRule(frames, self.frames_per_row, self.clip.stride, self.clip.rows)

    def shown(self, decoded: DecodedFrames) -> NDArray[np.int64]:
        """Which of a pass's distinct pictures the model is shown, in order, (n,) int64.

        They are whole clips. Where a clip makes one row, each clip is shown once; where it makes
        several, the last row is shown again until the last clip is full.
        """
        numbers = decoded.numbers
        if self.clip.rows == 1:
            return numbers[np.unique(decoded.index, return_index=True)[1]].ravel()
        return np.pad(numbers, ((0, -len(numbers) % self.clip.rows), (0, 0)), mode="edge").ravel()

    def rows(self, decoded: DecodedFrames) -> NDArray[np.int64]:
        """Which of the outputs for `shown` are the rows of a pass's features, (r,) int64."""
        if self.clip.rows == 1:
            return np.unique(decoded.index, return_inverse=True)[1]
        return np.arange(len(decoded.index))

    def launch(self, pictures: torch.Tensor) -> Callable[[], NDArray[np.float16]]:
        """Begin to encode one full batch.

        Args:
            pictures: (batch, 3, S, S) uint8; not to be changed before the result is taken. A GPU
                copies them from pinned memory while it computes.

        Returns:
            A function that waits for the features, (batch / frames_per_row, D) float16; infinite
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
        """Float32 on a GPU without TF32, and the same algorithm for the same computation."""
        if self.device.type != "cuda":
            return nullcontext()
        # `flags` turns cudnn off where `enabled` is left out.
        return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)

    def encode(self, pictures: torch.Tensor) -> NDArray[np.float16]:
        """Encode the pictures of whole clips, (n, 3, S, S) uint8, to (rows, D) float16."""
        padded = torch.zeros((self.batch, *pictures.shape[1:]), dtype=torch.uint8)
        parts = []
        for start in range(0, len(pictures), self.batch):
            part = pictures[start : start + self.batch]
            padded[: len(part)] = part
            padded[len(part) :] = 0
            parts.append(self.launch(padded)()[: len(part) // self.frames_per_row])
        return np.concatenate(parts)


def load_encoder(
    name: str = "resnet101",
    weights: str | None = None,
    device: torch.device | str = "cpu",
    precision: str | None = None,
    batch: int | None = None,
    compiled: bool = False,
) -> Encoder:
    """Load an encoder.

    Args:
        name: As `load_model` takes it: "resnet101", "tsm_resnet50", "timm:NAME".
        weights: A name of the library's, a file, or "random:SEED"; its default where left out.
        device: Where to compute.
        precision: "float32" or "bfloat16", which folds BatchNorm into the convolutions; where
            left out, bfloat16 if the device computes with it.
        batch: Pictures a forward pass, of whole clips; 8 on a CPU and 128 on a GPU where left
            out, or a clip if that is longer.
        compiled: Compile the model with torch.compile; on a CPU that takes a C++ compiler.

    Raises:
        MeidBenchError: A name is unknown, or the weights cannot be had.
    """
    device = torch.device(device)
    if precision is None:
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    loaded = load_model(name, weights)
    length = loaded.clip.length
    if batch is None:
        usual = CPU_BATCH if device.type == "cpu" else GPU_BATCH
        batch = -(-usual // length) * length
    if batch % length:
        raise SettingError(f"--batch {batch} must be a multiple of {length} for {name}")
    return Encoder(
        name=loaded.name,
        family=loaded.family,
        weights=loaded.weights,
        weights_sha256=tensors_sha256(loaded.model),
        untrained=loaded.untrained,
        transform=loaded.transform,
        width=loaded.width,
        clip=loaded.clip,
        pooling=loaded.pooling,
        device=device,
        precision=precision + (", compiled" if compiled else ""),
        batch=batch,
        model=_prepared(loaded.model, device, precision, compiled),
    )


def _prepared(model: nn.Module, device: torch.device, precision: str, compiled: bool) -> nn.Module:
    model = model.eval().requires_grad_(False)
    if precision == "bfloat16":
        model = _folded(model)  # in float32: after rounding, the error would double
        model = model.to(torch.bfloat16)
        if not any(parameter.dim() == 5 for parameter in model.parameters()):  # no video model
            model = model.to(memory_format=torch.channels_last)
    model = model.to(device)
    if compiled:
        require_compiler(device)
        options: Any = {"freezing": True} if device.type == "cpu" else None
        model = cast(nn.Module, torch.compile(model, options=options))
    return model


def _folded(model: nn.Module) -> nn.Module:
    """The model with BatchNorm folded into its convolutions, where torch.fx can follow it."""
    if not any(type(module) in BATCHNORMS for module in model.modules()):
        return model
    try:
        return fuse(model)
    except Exception:  # tracing runs the model's own code on stand-ins, which it may not expect
        return model
