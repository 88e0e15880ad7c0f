"""NpyStore: features that lie as one `<video_id>.npy` each in a folder, read where they are."""

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meid_bench import __version__
from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import DataError
from meid_bench.features.manifest import (
    UNKNOWN,
    Failure,
    load_manifest,
    make_manifest,
    save_manifest,
    unknown_recipe,
    update_failures,
)
from meid_bench.features.store import FeatureStore, place_for
from meid_bench.files import features_dir, named_when_full, write_text
from meid_bench.progress import Progress

IDS = "ids.txt"
# In a manifest's provenance: the folder that the store reads in place.
IN_PLACE = "npy_folder"
# The decoder that a failure names.
DECODER = "npy"
DTYPES = ("float16", "float32", "float64")


class NpyStore(FeatureStore):
    """A store of manifest, ids and failures whose features stay in another folder.

    Which of a video's frames they are, and when, is unknown: indices are -1 and times NaN.

    Args:
        folder: The store, as `register_npy` made it.

    Raises:
        DataError: The folder is no such store, or that of the features has gone.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.npy_folder = Path(self.manifest.provenance[IN_PLACE])
        if not self.npy_folder.is_dir():
            raise DataError(
                f"The features of {folder.name} lie in {self.npy_folder}, which is not there; "
                "bring the folder back, or build again with --source where it is now"
            )
        self.ids = tuple((folder / IDS).read_text(encoding="utf-8").splitlines())
        self._have = frozenset(self.ids)

    def read(
        self, ids: Sequence[str], out: NDArray[np.float16] | None = None
    ) -> NDArray[np.float16]:
        """As `FeatureStore.read`.

        Raises:
            DataError: A video has no features, or its file is not usable.
        """
        out = place_for((len(ids), self.frames, self.width), out)
        for row, name in zip(out, ids, strict=True):
            if name not in self._have:
                self._find(name)  # says why
            path = self.npy_folder / f"{name}.npy"
            try:
                row[:] = read_npy(path, (self.frames, self.width))
            except DataError as error:
                raise DataError(
                    f"{path}: {error}; `meid-bench verify --repair` puts it and others like it "
                    "among the failures"
                ) from error
        return out

    def _value(self, video_id: str, dataset: str) -> Any:
        unknown: dict[str, Any] = {
            "frame_time": np.full(self.frames, np.nan, np.float32),
            "frame_index": np.full(self.frames, -1, np.int32),
            "num_frames": 0,
        }
        return unknown[dataset]


def open_store(folder: Path) -> FeatureStore:
    """Open a feature store of shards or of .npy files.

    Raises:
        DataError: The folder is no store, or a shard cannot be read.
    """
    in_place = IN_PLACE in load_manifest(folder).provenance
    return NpyStore(folder) if in_place else FeatureStore(folder)


def read_npy(path: Path, shape: tuple[int, int]) -> NDArray[np.float16]:
    """Read one video's features, (T, D) float16.

    Raises:
        DataError: The file is not usable; the message is the reason alone.
    """
    return as_features(open_npy(path), shape)


def open_npy(path: Path) -> NDArray[Any]:
    """Map the array of a file into memory; objects are never unpickled.

    Raises:
        DataError: It is no .npy file of floats; the message is the reason alone.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError("there is no file") from error
    except Exception as error:  # numpy evaluates the header as Python: anything may be raised
        reason = " ".join(str(error).split())
        raise DataError(f"is no .npy file of numbers ({reason})") from error
    if not isinstance(array, np.ndarray):  # np.load also opens a .npz, whatever its name
        array.close()
        raise DataError("is an .npz, not an .npy")
    if array.dtype.name not in DTYPES:
        raise DataError(f"dtype {array.dtype}, expected one of {', '.join(DTYPES)}")
    return array


def as_features(array: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float16]:
    """Round an array to features, (T, D) float16.

    Raises:
        DataError: It has another shape or does not fit float16; the message is the reason alone.
    """
    if array.shape != shape:
        raise DataError(f"shape {array.shape}, expected {shape}")
    with np.errstate(over="ignore"):
        features = array.astype(np.float16)
    if not np.isfinite(features).all():
        raise DataError("holds NaN, or numbers beyond float16")
    return features


def faulty_npy(folder: Path) -> Iterator[tuple[str, str]]:
    """Read every file of a store; id and fault of those that are not usable."""
    store = NpyStore(folder)
    with Progress(len(store.ids), f"verify {folder.name}", "files") as progress:
        for name in store.ids:
            try:
                read_npy(store.npy_folder / f"{name}.npy", (store.frames, store.width))
            except DataError as error:
                yield name, str(error)
            progress.update()


def withdraw(folder: Path, faults: Mapping[str, str]) -> None:
    """Put videos of a store, id to fault, among its failures; their files stay."""
    kept = [name for name in NpyStore(folder).ids if name not in faults]
    failed = [Failure(name, fault, DECODER) for name, fault in faults.items()]
    update_failures(folder, faults, failed)
    write_text(folder / IDS, "".join(f"{name}\n" for name in kept))


@dataclass(frozen=True, slots=True)
class Registered:
    """The store made of a folder of .npy files, how many videos it has, and which failed."""

    store: Path
    npy_folder: Path
    stored: int
    failed: tuple[Failure, ...]


def npy_folders(folder: Path) -> list[Path]:
    """Folders with .npy files, sorted: the folder itself, or down to two levels below it."""
    if any(folder.glob("*.npy")):
        return [folder]
    below = [path for path in (*folder.glob("*/"), *folder.glob("*/*/")) if path.is_dir()]
    return sorted(path for path in below if any(path.glob("*.npy")))


def register_all(benchmark: Benchmark, folder: Path, root: Path) -> list[Registered]:
    """Make a store of every folder of .npy files in a folder; see `register_npy`."""
    with named_when_full(root):
        return [register_npy(benchmark, npy, root) for npy in npy_folders(folder)]


def register_npy(benchmark: Benchmark, npy_folder: Path, root: Path) -> Registered:
    """Make a feature store of a folder of `<video_id>.npy`, without a copy.

    Shapes, types and first frames are checked here, since VideoLT has hundreds of gigabytes; the
    other frames when they are used, and by `meid-bench verify`.

    Args:
        benchmark: Whose features they are; its `frames` is T.
        npy_folder: The folder; the encoder is read from its name.
        root: The data root.

    Raises:
        DataError: No listed video has usable features there.

    Differs:
        The fingerprint is the sha256 of ids, types, shapes and first frames, not of all bytes.
    """
    names: list[str] = []
    failed: list[Failure] = []
    width = None
    digest = hashlib.sha256()
    with Progress(len(benchmark.all_ids()), npy_folder.name, "files") as progress:
        for name in benchmark.all_ids():
            try:
                array = open_npy(npy_folder / f"{name}.npy")
                width = _checked_width(array, benchmark.frames, width)
            except DataError as error:
                failed.append(Failure(name, str(error), DECODER))
            else:
                names.append(name)
                head = f"{name}\t{array.dtype}\t{array.shape}\t"
                digest.update(head.encode() + array[0].tobytes())
            progress.update(1, f"{len(failed)} not usable")
    if width is None:
        raise DataError(
            f"{npy_folder} has no usable features of {benchmark.name}'s videos: "
            f"{failed[0].id}.npy: {failed[0].error}"
        )
    in_place = str(npy_folder.resolve())
    manifest = make_manifest(
        benchmark,
        unknown_recipe(encoder_of(npy_folder.name), benchmark.frames, width),
        weights="imported",
        imported=True,
        fingerprint=digest.hexdigest(),
        provenance={
            IN_PLACE: in_place,
            "tool": __version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    store = features_dir(root, benchmark.name) / manifest.store_name
    for other in (path.parent for path in store.parent.glob(f"*/{IDS}")):
        if other != store and load_manifest(other).provenance.get(IN_PLACE) == in_place:
            shutil.rmtree(other)  # the folder as it was before
    store.mkdir(parents=True, exist_ok=True)
    write_text(store / IDS, "".join(f"{name}\n" for name in names))
    update_failures(store, benchmark.all_ids(), failed)
    save_manifest(store, manifest)
    return Registered(store, npy_folder, len(names), tuple(failed))


def _checked_width(array: NDArray[Any], frames: int, width: int | None) -> int:
    """The width D of one video's array; that of the files before it where there are some."""
    if array.ndim != 2 or not array.size or array.shape != (frames, width or array.shape[1]):
        raise DataError(f"shape {array.shape}, expected ({frames}, {width or 'D'})")
    if not np.isfinite(array[0]).all():
        raise DataError("holds NaN or infinite numbers")
    return array.shape[1]


def encoder_of(folder: str) -> str:
    """The encoder that a folder is named after.

    >>> encoder_of("TSM-ResNet-50"), encoder_of("features_ResNet101"), encoder_of("clip")
    ('tsm_resnet50', 'resnet101', 'clip')
    """
    plain = re.sub(r"[^a-z0-9]", "", folder.lower())
    depth = re.search(r"(?:resnet|r)(50|101)", plain)
    if depth is None:
        return plain or UNKNOWN
    return f"tsm_resnet{depth[1]}" if "tsm" in plain else f"resnet{depth[1]}"
