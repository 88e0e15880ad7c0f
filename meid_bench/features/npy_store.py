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
from meid_bench.features.store import FeatureStore
from meid_bench.files import features_dir, named_when_full, write_text
from meid_bench.progress import Progress

IDS = "ids.txt"
# In a manifest's provenance: the folder that the store reads in place.
IN_PLACE = "npy_folder"
# What a failure names as having read the video.
DECODER = "npy"
DTYPES = ("float16", "float32", "float64")


class NpyStore(FeatureStore):
    """A store whose features stay where they are; its own folder says only which and whose.

    Frames have no times here: nobody knows which of a video's frames were taken.

    Args:
        folder: The store, as `register_npy` made it.

    Raises:
        DataError: The folder is no such store.
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
        """Features of `ids`, (n, T, D) float16, in their order, into `out` where it is given.

        Raises:
            DataError: A video has none, or its file is not what it was when it was registered.
        """
        if out is None:
            out = np.empty((len(ids), self.frames, self.width), dtype=np.float16)
        for row, name in zip(out, ids, strict=True):
            if name not in self._have:
                self._find(name)  # says why
            features, fault = read_npy(self.npy_folder / f"{name}.npy", (self.frames, self.width))
            if features is None:
                raise DataError(
                    f"{self.npy_folder / name}.npy: {fault}; `meid-bench verify --repair` puts "
                    "it and others like it among the failures"
                )
            row[:] = features
        return out

    def _value(self, video_id: str, dataset: str) -> Any:
        missing: dict[str, Any] = {
            "frame_time": np.full(self.frames, np.nan, np.float32),
            "frame_index": np.full(self.frames, -1, np.int32),
            "num_frames": 0,
            "num_damaged": 0,
        }
        return missing[dataset]


def open_store(folder: Path) -> FeatureStore:
    """Open a feature store, whichever way its features lie.

    Raises:
        DataError: The folder is no store, or a shard cannot be read.
    """
    in_place = IN_PLACE in load_manifest(folder).provenance
    return NpyStore(folder) if in_place else FeatureStore(folder)


def read_npy(path: Path, shape: tuple[int, int]) -> tuple[NDArray[np.float16] | None, str]:
    """One video's features, (T, D) float16; or None and what is wrong with the file, in words.

    Objects in it are never unpickled.
    """
    array, fault = open_npy(path)
    if array is None:
        return None, fault
    if array.shape != shape:
        return None, f"shape {array.shape}, expected {shape}"
    with np.errstate(over="ignore"):  # what does not fit float16 becomes infinite, and is named
        features = array.astype(np.float16)
    if not np.isfinite(features).all():
        return None, "holds NaN, or numbers beyond float16"
    return features, ""


def open_npy(path: Path) -> tuple[NDArray[Any] | None, str]:
    """Map a file, so that nothing but what is looked at is read."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None, "there is no file"
    except Exception as error:  # numpy reads a header as Python, and raises whatever that does
        return None, f"is no .npy file of numbers ({' '.join(str(error).split())})"
    if not isinstance(array, np.ndarray):  # np.load also opens a .npz, whatever its name
        array.close()
        return None, "is an .npz, not an .npy"
    if array.dtype.name not in DTYPES:
        return None, f"dtype {array.dtype}, expected one of {', '.join(DTYPES)}"
    return array, ""


def faulty_npy(folder: Path) -> Iterator[tuple[str, str]]:
    """Read all of every file of a store, and yield id and fault of those that are not usable."""
    store = NpyStore(folder)
    with Progress(len(store.ids), f"verify {folder.name}", "files") as progress:
        for name in store.ids:
            path = store.npy_folder / f"{name}.npy"
            features, fault = read_npy(path, (store.frames, store.width))
            progress.update()
            if features is None:
                yield name, fault


def withdraw(folder: Path, faults: Mapping[str, str]) -> None:
    """Put videos of a store, id to fault, among its failures; their files stay as they are."""
    kept = [name for name in NpyStore(folder).ids if name not in faults]
    failed = [Failure(name, fault, DECODER) for name, fault in faults.items()]
    update_failures(folder, faults, failed)
    write_text(folder / IDS, "".join(f"{name}\n" for name in kept))


@dataclass(frozen=True, slots=True)
class Registered:
    """A folder of .npy files that was made known as a store.

    Attributes:
        store: The store's folder.
        npy_folder: Where the files lie.
        stored: Videos with features.
        failed: Videos without, each with the reason.
    """

    store: Path
    npy_folder: Path
    stored: int
    failed: tuple[Failure, ...]


def npy_folders(folder: Path) -> list[Path]:
    """Folders with .npy files: the folder itself, or down to two levels below it; sorted."""
    if any(folder.glob("*.npy")):
        return [folder]
    below = [path for path in (*folder.glob("*/"), *folder.glob("*/*/")) if path.is_dir()]
    return sorted(path for path in below if any(path.glob("*.npy")))


def register_all(benchmark: Benchmark, folder: Path, root: Path) -> list[Registered]:
    """Make every folder of .npy files in a folder a store; see `register_npy`."""
    with named_when_full(root):
        return [register_npy(benchmark, npy, root) for npy in npy_folders(folder)]


def register_npy(benchmark: Benchmark, npy_folder: Path, root: Path) -> Registered:
    """Make a folder of `<video_id>.npy` a feature store of a benchmark, without copying it.

    Every listed video's file is opened and its shape and type checked; of its numbers only the
    first frame is read, for at VideoLT's size all of them are hundreds of gigabytes. The others
    are checked when they are used, and by `meid-bench verify`.

    Args:
        benchmark: Whose features they are; its `frames` is T.
        npy_folder: Where they lie; its name tells the encoder.
        root: The data root.

    Raises:
        DataError: No listed video has usable features there.

    Differs:
        The fingerprint is the sha256 of ids, types, shapes and first frames, not of all bytes.
    """
    names: list[str] = []
    failed: list[Failure] = []
    widths: set[int] = set()
    digest = hashlib.sha256()
    with Progress(len(benchmark.all_ids()), npy_folder.name, "files") as progress:
        for name in benchmark.all_ids():
            array, fault = open_npy(npy_folder / f"{name}.npy")
            progress.update(1, f"{len(failed)} not usable")
            if array is not None:
                fault = _misfit(array, benchmark.frames, widths)
            if array is None or fault:
                failed.append(Failure(name, fault, DECODER))
                continue
            widths.add(array.shape[1])
            names.append(name)
            digest.update(f"{name}\t{array.dtype}\t{array.shape}\t".encode() + array[0].tobytes())
    if not names:
        raise DataError(
            f"{npy_folder} has no usable features of {benchmark.name}'s videos: "
            f"{failed[0].id}.npy: {failed[0].error}"
        )
    manifest = make_manifest(
        benchmark,
        unknown_recipe(encoder_of(npy_folder.name), benchmark.frames, widths.pop()),
        weights="imported",
        imported=True,
        fingerprint=digest.hexdigest(),
        provenance={
            IN_PLACE: str(npy_folder.resolve()),
            "tool": __version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    store = features_dir(root, benchmark.name) / manifest.store_name
    for before in _stores_of(npy_folder, store.parent):
        if before != store:
            shutil.rmtree(before)
    store.mkdir(parents=True, exist_ok=True)
    write_text(store / IDS, "".join(f"{name}\n" for name in names))
    update_failures(store, benchmark.all_ids(), failed)
    save_manifest(store, manifest)
    return Registered(store, npy_folder, len(names), tuple(failed))


def _misfit(array: NDArray[Any], frames: int, widths: set[int]) -> str:
    if array.ndim != 2 or len(array) != frames or array.shape[1] not in (widths or array.shape[1:]):
        width = next(iter(widths), "D")
        return f"shape {array.shape}, expected ({frames}, {width})"
    return "" if np.isfinite(array[0]).all() else "holds NaN or infinite numbers"


def encoder_of(folder: str) -> str:
    """The encoder that a folder's name tells: "TSM-ResNet-50" is tsm_resnet50.

    >>> encoder_of("TSM-ResNet-50"), encoder_of("features_ResNet101"), encoder_of("clip")
    ('tsm_resnet50', 'resnet101', 'clip')
    """
    plain = re.sub(r"[^a-z0-9]", "", folder.lower())
    depth = re.search(r"(?:resnet|r)(50|101)", plain)
    if depth is None:
        return plain or UNKNOWN
    return f"tsm_resnet{depth[1]}" if "tsm" in plain else f"resnet{depth[1]}"


def _stores_of(npy_folder: Path, features: Path) -> Iterator[Path]:
    for path in sorted(features.glob(f"*/{IDS}")):
        if load_manifest(path.parent).provenance.get(IN_PLACE) == str(npy_folder.resolve()):
            yield path.parent
