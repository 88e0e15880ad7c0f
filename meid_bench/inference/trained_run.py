"""TrainedRun: a finished run's model with the encoder of its features, for any video file."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench.cores import cores
from meid_bench.errors import DataError, SettingError, unknown
from meid_bench.features.decode_pool import DecodeSettings, DecodeTask, decode_into
from meid_bench.features.decoders import DECODERS, JPG_DECODER, decoder_version, placed
from meid_bench.features.encode_stage import EncodeStage
from meid_bench.features.encoder import Encoder, load_encoder
from meid_bench.features.manifest import MANIFEST, Failure, Manifest, load_manifest
from meid_bench.features.passes import Passes
from meid_bench.features.shard import VideoFeatures
from meid_bench.files import home, runs_dir
from meid_bench.methods.method import Method
from meid_bench.results.record import RECORD, Result, load_result
from meid_bench.training.model import Model, load_model


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class of one video, with its score in [0, 1]."""

    label: str
    score: float


@dataclass(eq=False)
class TrainedRun:
    """A run that `load_run` has loaded.

    Attributes:
        folder: The run's.
        record: Its record.
        model: What was trained, on which features.
        method: The trained network, in eval mode.
        manifest: How the features were made that it was trained on.
        device: Where it computes.
        weights: The encoder's weights, where not those that the manifest names.
    """

    folder: Path
    record: Result
    model: Model
    method: Method
    manifest: Manifest
    device: torch.device
    weights: str | None = None

    def predict(self, file: str | Path) -> list[Prediction]:
        """Every class's score for a video file or a folder of jpgs, the highest first.

        Raises:
            DataError: The video cannot be read, or the encoder here makes other features.
        """
        scores = self.score(self.encode(Path(file)))
        order = np.argsort(-scores, kind="stable")
        return [Prediction(self.model.classes[c], float(scores[c])) for c in order]

    def encode(self, file: Path) -> NDArray[np.float16]:
        """Features of a video, (T, D) float16, as `extract` makes them.

        Raises:
            DataError: As `predict`.
        """
        encoder = self.encoder
        decoder = placed(self.manifest.provenance["decoder"], encoder.device)
        rule = encoder.rule(self.model.task.frames)
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

    @torch.no_grad()
    def score(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Probabilities (C,) of one video's features (T, D)."""
        logits = self.method(self._batch(features))
        scores: NDArray[np.float32] = logits[0].float().sigmoid().cpu().numpy()
        return scores

    @torch.no_grad()
    def explain(self, features: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Frame weights (T,) and logits (C,) of one video (T, D), by name."""
        parts = self.method.explain(self._batch(features))
        return {name: value[0].float().cpu().numpy() for name, value in parts.items()}

    def _batch(self, features: NDArray[Any]) -> torch.Tensor:
        shape = (self.model.task.frames, self.model.task.width)
        if features.shape != shape:
            raise DataError(
                f"{self.folder.name} was trained on features of {shape[0]} frames by {shape[1]}; "
                f"these are {features.shape}"
            )
        return torch.from_numpy(np.asarray(features, dtype=np.float32))[None].to(self.device)

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
                f"{self.folder.name} was trained on {kind} features ({recipe.encoder}), which "
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
                    f"The encoder here is not the one that {self.folder.name} was trained on: its "
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


def load_run(
    run: str | Path,
    device: torch.device | str = "cpu",
    root: Path | None = None,
    weights: str | None = None,
) -> TrainedRun:
    """Load a finished run: `load_run("data/runs/charadeslt/meid-...").predict("clip.mp4")`.

    Args:
        run: Its folder, or its name under the data root, or the beginning of that.
        device: Where to compute.
        root: The data root; $MEID_BENCH_HOME or ./data where left out.
        weights: The encoder's weights, where they were a file.

    Raises:
        MeidBenchError: There is no such run, its weights are gone or damaged, or its manifest is
            of other features.
    """
    folder = find_run(run, home() if root is None else root)
    record = load_result(folder)
    model, method = load_model(folder, torch.device(device))
    manifest = load_manifest(folder)
    recipe = manifest.recipe
    expected = (model.features, model.task.frames, model.task.width)
    found = (manifest.fingerprint, recipe.frames, recipe.width)
    if expected != found:
        raise DataError(
            f"{folder / MANIFEST} is of features {found[0][:8]} ({found[1]} frames by {found[2]}); "
            f"the model was trained on {expected[0][:8]} ({expected[1]} by {expected[2]}); "
            "run it again"
        )
    return TrainedRun(folder, record, model, method, manifest, torch.device(device), weights)


def find_run(run: str | Path, root: Path) -> Path:
    """The folder of a finished run.

    Raises:
        SettingError: No run has that name, or several begin with it.
    """
    if (Path(run) / RECORD).is_file():
        return Path(run)
    folders = [path.parent for path in sorted(runs_dir(root, "").glob(f"*/*/{RECORD}"))]
    named = [folder for folder in folders if folder.name.startswith(str(run))]
    named = [folder for folder in named if folder.name == str(run)] or named
    if not named:
        raise unknown("finished run", str(run), [folder.name for folder in folders])
    if len(named) > 1:
        names = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in named)
        raise SettingError(f"{len(named)} runs begin with {str(run)!r}; choose one: {names}")
    return named[0]
