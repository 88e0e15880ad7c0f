"""VideoEncoder: makes the features of any video file, or a part of them, as a run's were made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench.cores import cores
from meid_bench.errors import DataError, SettingError
from meid_bench.features.decode_pool import DecodeSettings, DecodeTask, decode_into
from meid_bench.features.decoders import DECODERS, JPG_DECODER, decoder_version, placed
from meid_bench.features.encode_stage import EncodeStage
from meid_bench.features.encoder import Encoder, load_encoder
from meid_bench.features.manifest import Failure, Manifest
from meid_bench.features.passes import Passes
from meid_bench.features.shard import VideoFeatures


@dataclass(eq=False)
class VideoEncoder:
    """The way from a video to features of one recipe.

    Attributes:
        run: Name of the run that was trained on such features, for messages.
        manifest: How these were made.
        device: Where to compute.
        weights: The encoder's weights, where not those that the manifest names.
    """

    run: str
    manifest: Manifest
    device: torch.device
    weights: str | None = None

    def encode(self, file: Path) -> NDArray[np.float16]:
        """Features of a video, (T, D) float16, as `extract` makes them.

        Raises:
            DataError: The video cannot be read, or the encoder here makes other features.
        """
        encoder = self.encoder
        decoder = placed(self.manifest.provenance["decoder"], encoder.device)
        rule = encoder.rule(self.manifest.recipe.frames)
        settings = DecodeSettings(rule, encoder.transform, decoder)
        slot = np.empty(settings.slot_shape, dtype=np.uint8)
        ended: list[VideoFeatures | Failure] = []
        passes = Passes(rule.frames, decoder, ended.append)
        task: DecodeTask | None = DecodeTask(file.name, file)
        threads = cores() if encoder.device.type == "cpu" else 1
        with EncodeStage(encoder, threads, passes.put) as stage:
            while task is not None:
                decoded = decode_into(slot, task, settings)
                if not isinstance(decoded, str):
                    wanted, following = passes.take(task, decoded)
                    if wanted:
                        stage.add(task, decoded, slot)
                    task = following
                elif not task.sequential:
                    task = replace(task, sequential=True, first=0)
                else:
                    passes.fail(task, decoded)
                    task = None
            stage.flush()
        if isinstance(ended[0], Failure):
            raise DataError(f"{file} cannot be read: {ended[0].error}")
        return ended[0].features

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder of the training's features.

        Raises:
            DataError: The features were made elsewhere, or the encoder here makes others.
        """
        recipe, provenance = self.manifest.recipe, self.manifest.provenance
        decoded = provenance.get("decoder") in (*DECODERS, JPG_DECODER)
        if self.manifest.imported or not decoded:
            kind = "imported" if self.manifest.imported else "simulated"
            raise DataError(
                f"{self.run} was trained on {kind} features ({recipe.encoder}), which "
                "no encoder here makes of a video; it can be inspected, but not predict from files"
            )
        try:
            encoder = load_encoder(
                recipe.encoder,
                self.weights or self.manifest.weights,
                self.device,
                provenance["precision"].partition(",")[0],
                provenance["batch"],
            )
        except SettingError as error:
            raise DataError(
                f"{error}; where the weights were a file, name it with --weights"
            ) from error
        for name, value, expected in (
            ("weights_sha256", encoder.weights_sha256, recipe.weights_sha256),
            ("transform", str(encoder.transform), recipe.transform),
            ("width", encoder.width, recipe.width),
            ("clip_length", encoder.frames_per_row, recipe.clip_length),
            ("clip_stride", encoder.clip.stride, recipe.clip_stride),
            ("pooling", encoder.pooling, recipe.pooling),
        ):
            if value != expected:
                raise DataError(
                    f"The encoder here is not the one that {self.run} was trained on: its "
                    f"{name} is {value}, expected {expected}; name the right one with --weights"
                )
        return encoder

    @property
    def differences(self) -> tuple[str, ...]:
        """What differs from the training's extraction and moves features in their last digits."""
        before = self.manifest.provenance
        here = {
            "precision": self.encoder.precision,
            "decoder_version": decoder_version(before["decoder"]),
        }
        return tuple(
            f"{name.replace('_', ' ')} is {value}; the training's features had {before[name]}"
            for name, value in here.items()
            if value != before[name]
        )


def weights_of_parts(parts: Sequence[Manifest], given: Sequence[str]) -> list[str | None]:
    """Which weights were given for each part of the features; None where the manifest's hold.

    Args:
        parts: One, or several that are joined.
        given: FILE for a single part, NAME=FILE for one of several, where NAME is the beginning of
            the name of that part's store.

    Raises:
        SettingError: It is not clear for which part they are.
    """
    if len(parts) == 1 and len(given) < 2:
        return [*given] or [None]
    found: list[str | None] = [None] * len(parts)
    for text in given:
        name, _, file = text.partition("=")
        fitting = [row for row, part in enumerate(parts) if part.store_name.startswith(name)]
        if not file or len(fitting) != 1 or found[fitting[0]] is not None:
            names = ", ".join(part.store_name for part in parts)
            raise SettingError(
                f"--weights {text!r} must be NAME=FILE, once for each encoder that had a file; "
                f"NAME is the beginning of one of {names}"
            )
        found[fitting[0]] = file
    return found
