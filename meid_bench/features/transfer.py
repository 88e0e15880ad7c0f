"""Features in and out: a folder of `<video_id>.npy`, one array (T, D) a video, and a store."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from meid_bench import __version__
from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import DataError
from meid_bench.features.manifest import (
    MANIFEST,
    UNKNOWN,
    Failure,
    Manifest,
    load_manifest,
    make_manifest,
    save_manifest,
    unknown_recipe,
)
from meid_bench.features.npy_store import IN_PLACE, open_npy, open_store, read_npy
from meid_bench.features.shard import VideoFeatures
from meid_bench.features.store import write_store
from meid_bench.files import atomic, check_space, features_dir, named_when_full
from meid_bench.progress import Progress

READER = "npy"
NOWHERE = -1  # the frame index of a frame of which nobody knows where it was


@dataclass(frozen=True, slots=True)
class Origin:
    """What the importer says of how features were made; None for what is not said.

    Attributes:
        encoder: Name of the model.
        weights: Name of its weights; "random:SEED" marks them as untrained.
        transform: Its preprocessing, in words.
        source: Of which videos, for example "480p".
    """

    encoder: str | None = None
    weights: str | None = None
    transform: str | None = None
    source: str | None = None


def import_features(
    benchmark: Benchmark, folder: Path, root: Path, origin: Origin = Origin()
) -> Path:
    """Copy features that were made elsewhere into a store of their own.

    float16 is kept to the bit; wider numbers are rounded to the nearest float16, and how many
    files that touched is recorded. Of every listed video there is either an array in the store
    or a failure with its reason; files of no listed video are left out and counted. What
    `origin` does not say of how they were made is taken from the folder's manifest.json, where
    `export_features` left one, and is "unknown" otherwise.

    Args:
        benchmark: Whose videos they are.
        folder: Holds `<video_id>.npy`, (T, D) of one shape: the most frequent one counts.
        root: The data root.
        origin: How they were made.

    Returns:
        The store's folder. Its fingerprint is the sha256 of ids and values, so that the same
        features imported twice are the same row of a board.

    Raises:
        DataError: The folder is missing, or has no usable features of a listed video.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; name the one with the .npy files")
    listed = benchmark.all_ids()
    paths = {path.stem: path for path in folder.glob("*.npy")}
    shape = _shape(folder, [paths[name] for name in listed if name in paths])
    digests, failed, rounded = _survey(listed, paths, shape)
    if not digests:
        raise DataError(
            f"{folder} has no usable features of {benchmark.name}'s videos: "
            f"{failed[0].id}.npy: {failed[0].error}"
        )
    provenance = {
        "imported_from": folder.name,
        "rounded_to_float16": rounded,
        "not_listed": len(set(paths) - set(listed)),
        "tool": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    lines = "".join(f"{name}\t{digests[name]}\n" for name in sorted(digests))
    fingerprint = hashlib.sha256(lines.encode()).hexdigest()
    manifest = _manifest(benchmark, folder, shape, origin, fingerprint, provenance)
    store = features_dir(root, benchmark.name) / manifest.store_name
    check_space(store, len(digests) * shape[0] * shape[1] * 2, f"{len(digests)} videos' features")
    new = not (store / MANIFEST).exists()
    try:
        with named_when_full(store):
            write_store(store, manifest, listed, _items(sorted(digests), paths, shape), failed)
    except BaseException:
        if new:
            shutil.rmtree(store, ignore_errors=True)  # else shards would stay that are no store
        raise
    return store


def export_features(store_folder: Path, out: Path) -> int:
    """Write `<video_id>.npy`, (T, D) float16, of every video of a store, and its manifest.

    Raises:
        DataError: `out` holds the features of another store.

    Returns:
        How many videos were written.
    """
    store = open_store(store_folder)
    if (out / MANIFEST).is_file() and load_manifest(out).fingerprint != store.fingerprint:
        raise DataError(
            f"{out} holds the features of another store, "
            f"{load_manifest(out).fingerprint[:8]}; name an empty folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    check_space(out, len(store.ids) * store.frames * store.width * 2, f"{len(store.ids)} files")
    # First, so that a folder half written says what it is.
    save_manifest(out, store.manifest)
    with named_when_full(out), Progress(len(store.ids), "export", "videos") as progress:
        for name in store.ids:
            (features,) = store.read([name])
            with atomic(out / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, features)
            progress.update()
    return len(store.ids)


def _shape(folder: Path, paths: Sequence[Path]) -> tuple[int, int]:
    """The most frequent shape among the files that have two dimensions; the larger of equals."""
    shapes: Counter[tuple[int, int]] = Counter()
    for path in paths:
        array, _ = open_npy(path)
        if array is not None and array.ndim == 2 and array.size:
            shapes[array.shape] += 1
    if not shapes:
        raise DataError(
            f"{folder} has no <video_id>.npy of shape (T, D) of a listed video; "
            "check the benchmark and the files' names"
        )
    return max(shapes, key=lambda shape: (shapes[shape], shape))


def _survey(
    listed: Sequence[str], paths: dict[str, Path], shape: tuple[int, int]
) -> tuple[dict[str, str], list[Failure], int]:
    """Read every listed video's file: sha256 of its values, or why it is of no use."""
    digests: dict[str, str] = {}
    failed: list[Failure] = []
    rounded = 0
    with Progress(len(listed), "check", "files") as progress:
        for name in listed:
            progress.update(1, f"{len(failed)} not usable")
            if name not in paths:
                failed.append(Failure(name, "there is no file", READER))
                continue
            features, fault = read_npy(paths[name], shape)
            if features is None:
                failed.append(Failure(name, str(fault), READER))
                continue
            digests[name] = hashlib.sha256(features.astype("<f2").tobytes()).hexdigest()
            array, _ = open_npy(paths[name])
            rounded += array is not None and not np.array_equal(array, features)
    return digests, failed, rounded


def _manifest(
    benchmark: Benchmark,
    folder: Path,
    shape: tuple[int, int],
    origin: Origin,
    fingerprint: str,
    provenance: Mapping[str, Any],
) -> Manifest:
    frames, width = shape
    recipe, weights, untrained = unknown_recipe(UNKNOWN, frames, width), UNKNOWN, False
    if (folder / MANIFEST).is_file():
        exported = load_manifest(folder)
        recipe = replace(exported.recipe, frames=frames, width=width)
        weights, untrained = exported.weights, exported.untrained
        made = {key: value for key, value in exported.provenance.items() if key != IN_PLACE}
        provenance = made | dict(provenance)
    recipe = replace(
        recipe,
        encoder=origin.encoder or recipe.encoder,
        transform=origin.transform or recipe.transform,
        source=origin.source or recipe.source,
    )
    if origin.weights is not None:
        weights, untrained = origin.weights, origin.weights.startswith("random:")
    return make_manifest(
        benchmark,
        recipe,
        weights=weights,
        untrained=untrained,
        imported=True,
        fingerprint=fingerprint,
        provenance=provenance,
    )


def _items(
    names: Sequence[str], paths: Mapping[str, Path], shape: tuple[int, int]
) -> Iterator[VideoFeatures]:
    with Progress(len(names), "import", "videos") as progress:
        for name in names:
            features, fault = read_npy(paths[name], shape)
            if features is None:
                raise DataError(
                    f"{paths[name]} changed while it was imported ({fault}); import again"
                )
            index = np.full(shape[0], NOWHERE, dtype=np.int32)
            times = np.full(shape[0], np.nan, dtype=np.float32)
            yield VideoFeatures(name, features, index, times, num_frames=0)
            progress.update()
