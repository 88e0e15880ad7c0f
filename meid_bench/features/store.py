"""FeatureStore: read the features of one benchmark and one encoder from HDF5 shards."""

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import DataError, SettingError, unknown
from meid_bench.features.checksum import broken_among
from meid_bench.features.failures import Failure, load_failures
from meid_bench.features.manifest import FILE, load_manifest
from meid_bench.features.shard import PATTERN, OpenShard, opened, shard_ids, unreadable
from meid_bench.files import features_dir

# Open files are limited (often to 1,024); VideoLT has 4,003 shards.
OPEN_SHARDS = 128


class FeatureSource(Protocol):
    """Features of videos by id, wherever they lie: in shards, or as one .npy per video."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Every video that has features, sorted."""

    @property
    def frames(self) -> int:
        """T, frames per video."""

    @property
    def width(self) -> int:
        """D, numbers per frame."""

    @property
    def fingerprint(self) -> str:
        """Feature fingerprint: sha256 of how they were made, hexadecimal."""

    @property
    def benchmark_fingerprint(self) -> str:
        """Fingerprint of the benchmark that the features are for."""

    @property
    def untrained(self) -> bool:
        """The encoder's weights are random: scores say nothing of a method."""

    @property
    def imported(self) -> bool:
        """The features were made elsewhere."""

    def read(
        self, ids: Sequence[str], out: NDArray[np.float16] | None = None
    ) -> NDArray[np.float16]:
        """Features of `ids`, (n, T, D) float16, in their order, into `out` where it is given."""


class FeatureStore:
    """A folder of HDF5 shards, its failures and its manifest.

    Files are opened when they are first read, once a process, and again after a fork: a store
    may be passed to the workers of a loader by fork or by pickle, and read by several threads.

    Args:
        folder: The store, for example data/features/charadeslt/resnet101-IMAGENET1K_V1-200-...

    Raises:
        DataError: The folder is no store, or a shard cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.manifest: Mapping[str, Any] = load_manifest(self.folder)
        self._place: dict[str, tuple[Path, int]] = {}
        shards = sorted(self.folder.glob(PATTERN))
        for path, reason in broken_among(shards).items():
            raise unreadable(path, reason)
        for path in shards:
            for row, name in enumerate(shard_ids(path)):
                if name in self._place:
                    raise DataError(
                        f"{self.folder} holds video {name!r} twice, in {self._place[name][0].name} "
                        f"and in {path.name}; run `meid-bench verify --repair`"
                    )
                self._place[name] = (path, row)
        self.ids: tuple[str, ...] = tuple(sorted(self._place))
        recipe = self.manifest["recipe"]
        self.frames: int = recipe["frames"]
        self.width: int = recipe["width"]
        self.fingerprint: str = self.manifest["fingerprint"]
        self.benchmark_fingerprint: str = self.manifest["benchmark_fingerprint"]
        self.untrained: bool = self.manifest["untrained"]
        self.imported: bool = self.manifest["imported"]
        self._forget()

    @property
    def failures(self) -> dict[str, Failure]:
        """Every video that could not be read, by id."""
        return load_failures(self.folder)

    def read(
        self, ids: Sequence[str], out: NDArray[np.float16] | None = None
    ) -> NDArray[np.float16]:
        """Features of `ids`.

        Args:
            ids: n ids of the store.
            out: Where to put them, (n, T, D) float16 and contiguous; a new array otherwise.

        Returns:
            (n, T, D) float16 in the order of `ids`.

        Raises:
            DataError: A video has no features, or a shard is damaged.
        """
        shape = (len(ids), self.frames, self.width)
        if out is None:
            out = np.empty(shape, dtype=np.float16)
        elif out.shape != shape or out.dtype != np.float16:
            raise ValueError(f"out is {out.shape} {out.dtype}, expected {shape} float16")
        for position, name in enumerate(ids):
            path, row = self._find(name)
            self._shard(path).read(row, out[position])
        return out

    def times(self, video_id: str) -> NDArray[np.float32]:
        """When each frame of a video is, (T,) float32, seconds from its first frame."""
        times: NDArray[np.float32] = self._value(video_id, "frame_time")
        return times

    def frame_index(self, video_id: str) -> NDArray[np.int32]:
        """Which of the decoded frames each row is, (T,) int32."""
        index: NDArray[np.int32] = self._value(video_id, "frame_index")
        return index

    def num_frames(self, video_id: str) -> int:
        """Frames of a video that really decode, n."""
        return int(self._value(video_id, "num_frames"))

    def num_damaged(self, video_id: str) -> int:
        """Decoded frames that the decoder flagged as damaged."""
        return int(self._value(video_id, "num_damaged"))

    def _find(self, video_id: str) -> tuple[Path, int]:
        if video_id not in self._place:
            failure = self.failures.get(video_id)
            reason = f"could not be read ({failure.error})" if failure else "has not been extracted"
            raise DataError(f"{self.folder.name} has no features of {video_id!r}: it {reason}")
        return self._place[video_id]

    def _value(self, video_id: str, dataset: str) -> Any:
        path, row = self._find(video_id)
        with opened(path) as file:
            return file[dataset][row]

    def _shard(self, path: Path) -> OpenShard:
        if self._process != os.getpid():
            # A handle that came through a fork shares its place in the file with the parent's.
            self._forget()
        with self._lock:
            shard = self._open.get(path) or OpenShard(path)
            self._open[path] = shard
            self._open.move_to_end(path)
            if len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)  # closed when the last thread that reads it is done
            return shard

    def _forget(self) -> None:
        self._open: OrderedDict[Path, OpenShard] = OrderedDict()
        self._lock = Lock()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dict__ if name not in _PER_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


_PER_PROCESS = ("_open", "_lock", "_process")


def find_store(root: Path, benchmark: Benchmark, name: str | None = None) -> Path:
    """The folder of the features to use for a benchmark.

    Args:
        root: The data root.
        benchmark: Whose features.
        name: Folder name of a store, or its beginning; where there is only one that fits the
            benchmark it need not be named.

    Raises:
        MeidBenchError: There is none, there are several, or the named one is of another version
            of the benchmark; the sentence names the choices or the command that makes one.
    """
    folder = features_dir(root, benchmark.name)
    stores = sorted(found.parent for found in folder.glob(f"*/{FILE}"))
    if name is not None:
        named = [store for store in stores if store.name.startswith(name)]
        named = [store for store in named if store.name == name] or named
        if not named:
            raise unknown(f"feature store of {benchmark.name}", name, [s.name for s in stores])
        stores = named
    fitting = [
        store
        for store in stores
        if load_manifest(store)["benchmark_fingerprint"] == benchmark.fingerprint
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise SettingError(
            f"{folder} has {len(fitting)} feature stores; choose one with --features: "
            + ", ".join(store.name for store in fitting)
        )
    command = f"`meid-bench extract --dataset {benchmark.name}`"
    if stores:
        raise DataError(
            f"The features in {folder} are of another version of {benchmark.name} than the one "
            f"built ({benchmark.fingerprint[:8]}); run {command}"
        )
    raise DataError(f"There are no features of {benchmark.name} under {folder}; run {command}")
