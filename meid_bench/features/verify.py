"""Verify: what is wrong with a feature store, and its repair."""

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
    """What is wrong with a file of a store, or with one video in it."""

    shard: str
    problem: str
    video: str | None = None

    def __str__(self) -> str:
        """The place and the problem in one line."""
        place = self.shard if self.video is None else f"{self.shard}, video {self.video!r}"
        return f"{place}: {self.problem}"


def verify_store(benchmark: Benchmark, folder: Path) -> list[Fault]:
    """Read every byte of a store, and check ids, shapes, frame indices and finite values.

    HDF5 opens no shard whose checksum is wrong. Videos without features are no fault: the account
    names them.

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
    broken = broken_among(paths, afresh=True)
    for path in paths:
        if path.name not in expected:
            faults.append(Fault(path.name, "the benchmark has no such shard"))
        elif path in broken:
            faults.append(Fault(path.name, broken[path]))
        else:
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
        features, expected = file["features"], (len(ids), *shape)
        problem = None
        if features.shape != expected or {len(file[name]) for name in file} != {len(ids)}:
            problem = f"features are {features.shape}, expected {expected}"
        elif features.dtype != np.float16:
            problem = f"features are {features.dtype}, expected float16"
        elif features.id.get_offset() is None:
            problem = "its features do not lie in one piece"
        elif ids != sorted(ids):
            problem = "its videos are out of order"
        if problem:
            yield Fault(path.name, problem)
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
        return None  # which frames they are is unknown
    index, count = file["frame_index"][row], int(file["num_frames"][row])
    if count < 1 or not np.array_equal(index, frame_indices(count, len(features))):
        return f"its frame indices are not those of {count} frames"
    return None


def repair_store(folder: Path, faults: Sequence[Fault]) -> None:
    """Remove the videos and the shards with `faults`, so that `extract` makes them again.

    Of features in place, the videos become failures, and no file is changed.
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
