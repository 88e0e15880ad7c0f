"""FeatureStore: a folder of HDF5 shards, read, chosen among others, and written whole."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import DataError, SettingError, unknown
from meid_bench.features.checksum import broken_among
from meid_bench.features.manifest import (
    MANIFEST,
    Failure,
    Manifest,
    load_failures,
    load_manifest,
    save_manifest,
    update_failures,
)
from meid_bench.features.shard import (
    PATTERN,
    Layout,
    VideoFeatures,
    opened,
    shard_layout,
    shard_path,
    shards,
    unreadable,
    write_shard,
)
from meid_bench.files import features_dir


class FeatureStore:
    """A folder of HDF5 shards, its failures and its manifest.

    `ids` are the videos with features, sorted; `frames` is T, `width` is D; `fingerprint` is the
    feature id, `benchmark_fingerprint` that of the labels; `untrained` features are of random
    weights, `imported` ones were made elsewhere.

    No file stays open: a store may be forked, pickled, and read by several threads at once.

    Args:
        folder: For example data/features/charadeslt/resnet101-IMAGENET1K_V1-200-...

    Raises:
        DataError: The folder is no store, or a shard cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.manifest = load_manifest(self.folder)
        self.frames = self.manifest.recipe.frames
        self.width = self.manifest.recipe.width
        self._place: dict[str, tuple[Layout, int]] = {}
        paths = sorted(self.folder.glob(PATTERN))
        for path, reason in broken_among(paths).items():
            raise unreadable(path, reason)
        for path in paths:
            layout = shard_layout(path, self.frames, self.width)
            for row, name in enumerate(layout.ids):
                if name in self._place:
                    other = self._place[name][0].path.name
                    raise DataError(
                        f"{self.folder} holds video {name!r} twice, in {other} and in {path.name}; "
                        "run `meid-bench verify --repair`"
                    )
                self._place[name] = (layout, row)
        self.ids: tuple[str, ...] = tuple(sorted(self._place))
        self.fingerprint = self.manifest.fingerprint
        self.benchmark_fingerprint = self.manifest.benchmark_fingerprint
        self.untrained = self.manifest.untrained
        self.imported = self.manifest.imported

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def parts(self) -> "tuple[FeatureStore, ...]":
        """Itself, as the only part: a joined store has several."""
        return (self,)

    @property
    def failures(self) -> dict[str, Failure]:
        """Videos that could not be read, by id."""
        return load_failures(self.folder)

    def read(
        self, ids: Sequence[str], out: NDArray[np.float16] | None = None
    ) -> NDArray[np.float16]:
        """Read the features of `ids`, (n, T, D) float16 in their order.

        Args:
            ids: n ids of the store.
            out: Where to put them, each frame contiguous; a new array where it is left out.

        Raises:
            DataError: A video has no features, or a shard is damaged.
        """
        out = place_for((len(ids), self.frames, self.width), out)
        for position, name in enumerate(ids):
            layout, row = self._find(name)
            layout.read(row, out[position])
        return out

    def times(self, video_id: str) -> NDArray[np.float32]:
        """Time of each row, (T,) float32, seconds from the video's first frame."""
        times: NDArray[np.float32] = self._value(video_id, "frame_time")
        return times

    def frame_index(self, video_id: str) -> NDArray[np.int32]:
        """Which of the decoded frames each row is, (T,) int32."""
        index: NDArray[np.int32] = self._value(video_id, "frame_index")
        return index

    def num_frames(self, video_id: str) -> int:
        """Frames of a video that decode, n."""
        return int(self._value(video_id, "num_frames"))

    def _find(self, video_id: str) -> tuple[Layout, int]:
        if video_id not in self._place:
            failure = self.failures.get(video_id)
            reason = f"could not be read ({failure.error})" if failure else "has not been extracted"
            raise DataError(f"{self.name} has no features of {video_id!r}: it {reason}")
        return self._place[video_id]

    def _value(self, video_id: str, dataset: str) -> Any:
        layout, row = self._find(video_id)
        with opened(layout.path) as file:
            return file[dataset][row]


def place_for(shape: tuple[int, int, int], out: NDArray[np.float16] | None) -> NDArray[np.float16]:
    """Where features of a shape go: `out`, or a new array.

    Raises:
        ValueError: `out` is of another shape or type.
    """
    if out is None:
        return np.empty(shape, dtype=np.float16)
    if out.shape != shape or out.dtype != np.float16:
        raise ValueError(f"out is {out.shape} {out.dtype}, expected {shape} float16")
    return out


def find_store(root: Path, benchmark: Benchmark, name: str | None = None) -> Path:
    """The folder of the features to use for a benchmark.

    Args:
        root: The data root.
        benchmark: Whose features.
        name: Folder name of a store, or its beginning; the only fitting one where left out.

    Raises:
        MeidBenchError: None fits, several do, or the named one is of other labels.
    """
    folder = features_dir(root, benchmark.name)
    stores = sorted(found.parent for found in folder.glob(f"*/{MANIFEST}"))
    if name is not None:
        named = [store for store in stores if store.name.startswith(name)]
        named = [store for store in named if store.name == name] or named
        if not named:
            raise unknown(f"feature store of {benchmark.name}", name, [s.name for s in stores])
        stores = named
    labels = benchmark.fingerprint
    fitting = [s for s in stores if load_manifest(s).benchmark_fingerprint == labels]
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
            f"built ({labels[:8]}); run {command}"
        )
    raise DataError(f"There are no features of {benchmark.name} under {folder}; run {command}")


def write_store(
    folder: Path,
    manifest: Manifest,
    ids: Sequence[str],
    items: Iterable[VideoFeatures],
    failed: Iterable[Failure] = (),
) -> None:
    """Write shards, failures and, last, the manifest that makes the folder a store.

    Args:
        folder: The store's folder; made where it is missing.
        manifest: As `make_manifest` makes it.
        ids: Every listed id of the benchmark: they decide which shard a video is in.
        items: Features in the order of their ids, not of every listed one; one shard of them is
            in memory at a time.
        failed: Why ids are missing.

    Raises:
        DataError: An item is not listed, out of order, or of another shape than the manifest's.
    """
    shard_of = {name: number for number, names in shards(ids).items() for name in names}
    shape = (manifest.recipe.frames, manifest.recipe.width)
    folder.mkdir(parents=True, exist_ok=True)
    last = ""
    for number, group in groupby(items, key=lambda item: shard_of.get(item.id, -1)):
        videos = list(group)
        for video in videos:
            if number < 0:
                raise DataError(f"Video {video.id!r} is not listed in the benchmark")
            if video.features.shape != shape:
                raise DataError(
                    f"Video {video.id!r} has features of {video.features.shape}, expected {shape}"
                )
            if video.id <= last:
                raise DataError(
                    f"Features must be in the order of ids: {video.id!r} after {last!r}"
                )
            last = video.id
        write_shard(shard_path(folder, number), videos)
    update_failures(folder, ids, failed)
    save_manifest(folder, manifest)
