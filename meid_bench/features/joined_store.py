"""JoinedStore: several stores of one benchmark and one T, read as one, column beside column."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import DataError, SettingError
from meid_bench.features.joined_manifest import PLUS, JoinedManifest
from meid_bench.features.manifest import Manifest
from meid_bench.features.npy_store import open_store
from meid_bench.features.store import FeatureStore, find_store, place_for


class JoinedStore:
    """Stores that read as one `FeatureStore`, of width D1 + D2 + ...; nothing is written.

    The order in which they are given does not count: columns are in the order of the encoders'
    names, then of the feature ids. `ids` are the videos that all of them have, sorted; `name` and
    `fingerprint` are theirs with "+" between them; `untrained` and `imported` hold if they do for
    any of them.

    Args:
        stores: Two or more, each of shards or of .npy files.

    Raises:
        DataError: They are of different labels or of different T.
        SettingError: Two are the same.
    """

    def __init__(self, stores: Sequence[FeatureStore]) -> None:
        _check_joinable(stores)
        self.parts = tuple(sorted(stores, key=lambda s: (s.manifest.encoder, s.fingerprint)))
        self.manifest = JoinedManifest(tuple(part.manifest for part in self.parts))
        self.name = PLUS.join(part.name for part in self.parts)
        self.frames = self.parts[0].frames
        self.width = sum(part.width for part in self.parts)
        self.ids = tuple(sorted(set(self.parts[0].ids).intersection(*(p.ids for p in self.parts))))
        self.fingerprint = self.manifest.fingerprint
        self.benchmark_fingerprint = self.parts[0].benchmark_fingerprint
        self.untrained = self.manifest.untrained
        self.imported = self.manifest.imported

    def read(
        self, ids: Sequence[str], out: NDArray[np.float16] | None = None
    ) -> NDArray[np.float16]:
        """As `FeatureStore.read`: each part goes from its file into its columns of `out`."""
        out = place_for((len(ids), self.frames, self.width), out)
        first = 0
        for part in self.parts:
            part.read(ids, out[:, :, first : first + part.width])
            first += part.width
        return out

    def times(self, video_id: str) -> NDArray[np.float32]:
        """Time of each row, (T,) float32: the first part's that knows it; NaN where none does."""
        each = [part.times(video_id) for part in self.parts]
        return next((times for times in each if not np.isnan(times).any()), each[0])


Store: TypeAlias = FeatureStore | JoinedStore


def open_features(root: Path, benchmark: Benchmark, name: str | None = None) -> Store:
    """Open the features to use for a benchmark.

    Args:
        root: The data root.
        benchmark: Whose features.
        name: Folder name of a store, or its beginning; several with "+" between them are joined;
            the only fitting store where left out.

    Raises:
        MeidBenchError: One is not found, as `find_store`, or they cannot be joined.
    """
    if name is None or PLUS not in name:
        return open_store(find_store(root, benchmark, name))
    names = [part.strip() for part in name.split(PLUS)]
    if not all(names):
        raise SettingError(f"--features {name!r} has an empty name; expected A{PLUS}B")
    return JoinedStore([open_store(find_store(root, benchmark, part)) for part in names])


def _check_joinable(stores: Sequence[FeatureStore]) -> None:
    """Refuse stores of different labels or lengths, and one that is named twice."""
    first = stores[0]
    for number, store in enumerate(stores):
        if store.benchmark_fingerprint != first.benchmark_fingerprint:
            labels = [f"{s.manifest.benchmark} ({s.benchmark_fingerprint[:8]})" for s in stores]
            raise DataError(
                f"{first.name} is of {labels[0]}, {store.name} of {labels[number]}; only features "
                "of one benchmark can be joined"
            )
        if store.fingerprint in (other.fingerprint for other in stores[:number]):
            raise SettingError(
                f"--features names the features {store.name} twice; name each store once"
            )
    kept = next((store for store in stores if not _extracted(store.manifest)), first)
    for store in stores:
        if store.frames != kept.frames:
            raise DataError(
                f"{store.name} has {store.frames} frames a video, {kept.name} has {kept.frames}, "
                f"and only equal ones can be joined; {_mend(store.manifest, kept.frames)}"
            )


def _mend(manifest: Manifest, frames: int) -> str:
    """What to do for features like a store's, of another number of frames."""
    if not _extracted(manifest):
        return f"import features of {frames} frames a video"
    line = ["meid-bench", "extract", "--dataset", manifest.benchmark]
    line += ["--encoder", manifest.encoder, "--weights", manifest.weights]
    return f"run `{shlex.join([*line, '--frames', str(frames)])}`"


def _extracted(manifest: Manifest) -> bool:
    """Whether `extract` made the features; others are of the length that they came with."""
    return not manifest.imported and "decoder" in manifest.provenance
