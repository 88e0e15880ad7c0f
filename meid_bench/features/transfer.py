"""Transfer: a folder of `<video_id>.npy`, (T, D) each, into a store, and out of one."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
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
from meid_bench.features.npy_store import (
    DECODER,
    IN_PLACE,
    as_features,
    open_npy,
    open_store,
    read_npy,
)
from meid_bench.features.shard import VideoFeatures
from meid_bench.features.store import write_store
from meid_bench.files import atomic, check_space, features_dir, named_when_full
from meid_bench.progress import Progress

UNKNOWN_FRAME = -1  # the frame index where it is unknown


@dataclass(frozen=True, slots=True)
class Origin:
    """How the user says that features were made; None for what is not said.

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
    """Copy features that were made elsewhere into a store.

    float16 is kept to the bit; wider numbers are rounded, and the files counted. A listed video
    without a usable file is a failure; files of other videos are counted and left out.

    Args:
        benchmark: Whose videos they are.
        folder: Holds `<video_id>.npy`, (T, D); of several shapes the most frequent is taken.
        root: The data root.
        origin: How they were made; what it lacks is read from the folder's manifest.json, as
            `export_features` writes it, or is "unknown".

    Returns:
        The store's folder. The feature id is the SHA-256 of ids and values.

    Raises:
        DataError: The folder is missing, or has no usable features of a listed video.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; name the one with the .npy files")
    listed = benchmark.all_ids()
    shape = _shape(folder, listed)
    digests, failed, rounded = _survey(folder, listed, shape)
    if not digests:
        raise DataError(
            f"{folder} has no usable features of {benchmark.name}'s videos: "
            f"{failed[0].id}.npy: {failed[0].error}"
        )
    lines = "".join(f"{name}\t{digests[name]}\n" for name in sorted(digests))
    fingerprint = hashlib.sha256(lines.encode()).hexdigest()
    manifest = _manifest(benchmark, folder, shape, origin, fingerprint, rounded)
    store = features_dir(root, benchmark.name) / manifest.store_name
    check_space(store, len(digests) * shape[0] * shape[1] * 2, f"{len(digests)} videos' features")
    new = not (store / MANIFEST).exists()
    try:
        with named_when_full(store):
            write_store(store, manifest, listed, _videos(folder, sorted(digests), shape), failed)
    except BaseException:
        if new:
            shutil.rmtree(store, ignore_errors=True)  # shards without a manifest are no store
        raise
    return store


def export_features(store_folder: Path, out: Path) -> int:
    """Write `<video_id>.npy`, (T, D) float16, of every video of a store, and its manifest.

    Returns:
        How many videos were written.

    Raises:
        DataError: `out` holds the features of another store.
    """
    store = open_store(store_folder)
    if (out / MANIFEST).is_file() and load_manifest(out).fingerprint != store.fingerprint:
        raise DataError(
            f"{out} holds the features of another store, "
            f"{load_manifest(out).fingerprint[:8]}; name an empty folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    check_space(out, len(store.ids) * store.frames * store.width * 2, f"{len(store.ids)} files")
    save_manifest(out, store.manifest)  # first: it tells whose files an unfinished export has
    with named_when_full(out), Progress(len(store.ids), "export", "videos") as progress:
        for name in store.ids:
            (features,) = store.read([name])
            with atomic(out / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, features)
            progress.update()
    return len(store.ids)


def _shape(folder: Path, listed: Sequence[str]) -> tuple[int, int]:
    """The most frequent shape of two dimensions; of equally frequent ones the larger."""
    shapes: Counter[tuple[int, int]] = Counter()
    for name in listed:
        with suppress(DataError):
            array = open_npy(folder / f"{name}.npy")
            if array.ndim == 2 and array.size:
                shapes[array.shape] += 1
    if not shapes:
        raise DataError(
            f"{folder} has no <video_id>.npy of shape (T, D) of a listed video; "
            "check the benchmark and the files' names"
        )
    return max(shapes, key=lambda shape: (shapes[shape], shape))


def _survey(
    folder: Path, listed: Sequence[str], shape: tuple[int, int]
) -> tuple[dict[str, str], list[Failure], int]:
    """Read every listed video: SHA-256 of the values by id, failures, and how many were rounded."""
    digests: dict[str, str] = {}
    failed: list[Failure] = []
    rounded = 0
    with Progress(len(listed), "check", "files") as progress:
        for name in listed:
            try:
                array = open_npy(folder / f"{name}.npy")
                features = as_features(array, shape)
            except DataError as error:
                failed.append(Failure(name, str(error), DECODER))
            else:
                digests[name] = hashlib.sha256(features.astype("<f2").tobytes()).hexdigest()
                rounded += not np.array_equal(array, features)
            progress.update(1, f"{len(failed)} not usable")
    return digests, failed, rounded


def _manifest(
    benchmark: Benchmark,
    folder: Path,
    shape: tuple[int, int],
    origin: Origin,
    fingerprint: str,
    rounded: int,
) -> Manifest:
    recipe, weights, untrained = unknown_recipe(UNKNOWN, *shape), UNKNOWN, False
    provenance: dict[str, Any] = {}
    if (folder / MANIFEST).is_file():
        exported = load_manifest(folder)
        recipe = replace(exported.recipe, frames=shape[0], width=shape[1])
        weights, untrained = exported.weights, exported.untrained
        provenance = dict(exported.provenance)
        provenance.pop(IN_PLACE, None)
    recipe = replace(
        recipe,
        encoder=origin.encoder or recipe.encoder,
        transform=origin.transform or recipe.transform,
        source=origin.source or recipe.source,
    )
    if origin.weights is not None:
        weights, untrained = origin.weights, origin.weights.startswith("random:")
    others = {path.stem for path in folder.glob("*.npy")} - set(benchmark.all_ids())
    provenance |= {
        "imported_from": folder.name,
        "rounded_to_float16": rounded,
        "not_listed": len(others),
        "tool": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return make_manifest(
        benchmark,
        recipe,
        weights=weights,
        untrained=untrained,
        imported=True,
        fingerprint=fingerprint,
        provenance=provenance,
    )


def _videos(folder: Path, names: Sequence[str], shape: tuple[int, int]) -> Iterator[VideoFeatures]:
    index = np.full(shape[0], UNKNOWN_FRAME, dtype=np.int32)
    times = np.full(shape[0], np.nan, dtype=np.float32)
    with Progress(len(names), "import", "videos") as progress:
        for name in names:
            path = folder / f"{name}.npy"
            try:
                features = read_npy(path, shape)
            except DataError as error:
                raise DataError(
                    f"{path} changed while it was imported ({error}); import again"
                ) from error
            yield VideoFeatures(name, features, index, times, num_frames=0)
            progress.update()
