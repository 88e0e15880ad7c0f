"""Verify: whether a feature store holds what it should, and putting right what it does not."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import DataError
from meid_bench.features.checksum import broken_among
from meid_bench.features.frames import frame_indices
from meid_bench.features.manifest import load_manifest
from meid_bench.features.npy_store import IN_PLACE, faulty_npy, withdraw
from meid_bench.features.shard import (
    FAULTS,
    PATTERN,
    read_shard,
    shard_path,
    shards,
    write_shard,
)


@dataclass(frozen=True)
class Fault:
    """Something wrong with a store.

    Attributes:
        shard: The file's name.
        problem: What is wrong, in words.
        video: The video it is about; None for a whole shard.
    """

    shard: str
    problem: str
    video: str | None = None

    def __str__(self) -> str:
        """One line that names the place."""
        place = self.shard if self.video is None else f"{self.shard}, video {self.video!r}"
        return f"{place}: {self.problem}"


def verify_store(benchmark: Benchmark, folder: Path) -> list[Fault]:
    """Check that every shard is as it was written, holds its own videos, each once, and in shape.

    All of it is read. HDF5 sees only what its checksum vouches for.

    Videos without features are no fault of a store: the account names them.

    Raises:
        DataError: The manifest is damaged or of another benchmark.
    """
    manifest = load_manifest(folder)
    if manifest.benchmark_fingerprint != benchmark.fingerprint:
        raise DataError(
            f"{folder} is for a benchmark with the fingerprint "
            f"{manifest.benchmark_fingerprint[:8]}, {benchmark.name} has "
            f"{benchmark.fingerprint[:8]}; run `meid-bench extract` again"
        )
    if IN_PLACE in manifest.provenance:
        return [Fault(f"{name}.npy", problem, name) for name, problem in faulty_npy(folder)]
    shape = (manifest.recipe.frames, manifest.recipe.width)
    expected = {
        shard_path(folder, n).name: set(ids) for n, ids in shards(benchmark.all_ids()).items()
    }
    faults: list[Fault] = []
    paths = sorted(folder.glob(PATTERN))
    changed = broken_among(paths, afresh=True)
    for path in paths:
        if path.name not in expected:
            faults.append(Fault(path.name, "the benchmark has no such shard"))
            continue
        if path in changed:
            faults.append(Fault(path.name, changed[path]))
            continue
        try:
            faults += _verify_shard(path, expected[path.name], shape, manifest.imported)
        except FAULTS as error:
            faults.append(Fault(path.name, f"cannot be read ({error})"))
    return faults


def _verify_shard(
    path: Path, listed: set[str], shape: tuple[int, int], imported: bool
) -> Iterator[Fault]:
    with h5py.File(path, "r") as file:
        ids = [str(name) for name in file["video_id"].asstr()[()]]
        stored = file["features"].shape
        lengths = {name: len(file[name]) for name in file}
        if stored != (len(ids), *shape) or set(lengths.values()) != {len(ids)}:
            yield Fault(path.name, f"features are {stored}, expected {(len(ids), *shape)}")
            return
        if file["features"].dtype != np.float16:
            yield Fault(path.name, f"features are {file['features'].dtype}, expected float16")
            return
        if file["features"].id.get_offset() is None:
            yield Fault(path.name, "its features do not lie in one piece")
            return
        if ids != sorted(ids):
            yield Fault(path.name, "its videos are out of order")
            return
        for row, name in enumerate(ids):
            problem = _problem(file, row, imported)
            if name not in listed:
                problem = "does not belong in this shard"
            elif ids.count(name) > 1:
                problem = "is in it more than once"
            if problem:
                yield Fault(path.name, problem, name)


def _problem(file: h5py.File, row: int, imported: bool) -> str | None:
    features = file["features"][row]
    if not np.isfinite(features).all():
        return "its features are not finite"
    if imported:
        return None  # Which frames those are, nobody knows.
    index, count = file["frame_index"][row], int(file["num_frames"][row])
    if count < 1 or not np.array_equal(index, frame_indices(count, len(features))):
        return f"its frame indices are not those of {count} frames"
    return None


def repair_store(folder: Path, faults: Sequence[Fault]) -> None:
    """Take out what is wrong, so that `extract` makes it again.

    A video at fault leaves its shard; a shard at fault goes as a whole. Of features that are
    read in place, those at fault are put among the failures, and no file is touched.

    Args:
        folder: The store.
        faults: As `verify_store` found them.
    """
    if IN_PLACE in load_manifest(folder).provenance:
        withdraw(folder, {str(fault.video): fault.problem for fault in faults})
        return
    for name in sorted({fault.shard for fault in faults}):
        path = folder / name
        bad = {fault.video for fault in faults if fault.shard == name}
        if None not in bad and (good := list(read_shard(path, without=bad))):
            write_shard(path, good)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
