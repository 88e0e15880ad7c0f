"""Features and labels of a split where training reads them, gathered by index."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import DataError, SettingError
from meid_bench.features.joined_store import Store
from meid_bench.methods.frame_draws import with_replacement
from meid_bench.methods.method import Batch
from meid_bench.methods.samplers import batches
from meid_bench.methods.settings import RunnerConfig
from meid_bench.training.readahead import read_ahead

READ_AT_ONCE = 64  # videos, a shard's worth


@dataclass(frozen=True)
class Streamed:
    """Features that stay in their files until a batch needs them.

    Attributes:
        store: Where they are.
        ids: Video ids, N of them; row i is video i's.
    """

    store: Store
    ids: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, T, D)."""
        return len(self.ids), self.store.frames, self.store.width

    def read(self, index: NDArray[np.int64], out: Tensor) -> None:
        """Read the features of some videos into `out`, (B, T, D) float16."""
        self.store.read([self.ids[row] for row in index], out.numpy())


@dataclass
class Examples:
    """One split's videos with features: what is trained on or scored.

    Attributes:
        ids: Video ids, N of them, in the benchmark's order without the missing ones.
        labels: (N, C) uint8 of 0 and 1.
        features: (N, T, D) float16, on the device, in host memory, or still in files.
        device: Where batches are wanted.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.uint8]
    features: Tensor | Streamed
    device: torch.device

    def __post_init__(self) -> None:
        """Keep the labels on the device too: 180 MB at VideoLT's size."""
        self._labels = torch.from_numpy(self.labels).to(self.device)

    def __len__(self) -> int:
        """N, the number of videos."""
        return len(self.ids)

    def batches(
        self, index: NDArray[np.int64], parts: Sequence[slice]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Features and labels of an epoch's batches, read ahead where they are not at hand.

        The rows go to the device once, and no batch waits for the device.

        Args:
            index: (M,) int64, an epoch's rows in order; a row may come more than once.
            parts: Which of them make up each batch.

        Yields:
            (B, T, D) float32 and (B, C) float32, on the device.
        """
        rows = torch.from_numpy(index).to(self.device)
        if isinstance(self.features, Tensor) and self.features.device == self.device:
            for part in parts:
                yield self.features[rows[part]].float(), self._labels[rows[part]].float()
            return
        shape = (self.features.shape[1], self.features.shape[2])
        values = read_ahead(self._read, index, parts, shape, self.device)
        for part, features in zip(parts, values, strict=True):
            yield features.float(), self._labels[rows[part]].float()

    def some(self, index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Features and labels of a single batch, as `batches` gives them."""
        return next(self.batches(index, [slice(0, len(index))]))

    def _read(self, index: NDArray[np.int64], out: Tensor) -> None:
        if isinstance(self.features, Tensor):
            torch.index_select(self.features, 0, torch.from_numpy(index), out=out)
        else:
            self.features.read(index, out)


def load_examples(
    benchmark: Benchmark,
    store: Store,
    split: str,
    device: torch.device,
    cache: str = "host",
    most: int | None = None,
) -> Examples:
    """A split's videos, with features where the cache mode says; those without are left out.

    Args:
        benchmark: Whose videos.
        store: Their features.
        split: "train", "val" or "test".
        device: Where batches are wanted.
        cache: "device", "host" or "stream".
        most: Only so many, the first; None for all.

    Raises:
        DataError: None of the split's videos has features.
    """
    have = frozenset(store.ids)
    listed = benchmark.ids(split)
    keep = [row for row, video in enumerate(listed) if video in have][:most]
    if not keep:
        raise DataError(
            f"No video of {benchmark.name}'s {split} split has features; "
            f"run `meid-bench extract --dataset {benchmark.name}`"
        )
    ids = tuple(listed[row] for row in keep)
    streamed = Streamed(store, ids)
    place = device if cache == "device" else torch.device("cpu")
    features = streamed if cache == "stream" else _resident(streamed, place)
    return Examples(ids, benchmark.labels(split)[keep], features, device)


def _resident(source: Streamed, place: torch.device) -> Tensor:
    """All features as one tensor; read in pieces, so that main memory never holds a GPU's whole."""
    index = np.arange(len(source.ids))
    parts = batches(len(index), READ_AT_ONCE)
    features = torch.empty(source.shape, dtype=torch.float16, device=place)
    pieces = read_ahead(source.read, index, parts, (source.shape[1], source.shape[2]), place)
    for part, piece in zip(parts, pieces, strict=True):
        features[part] = piece
    return features


def feature_bytes(benchmark: Benchmark, store: Store) -> int:
    """Bytes of all the benchmark's features, as float16."""
    return len(benchmark.all_ids()) * store.frames * store.width * 2


def missing_ids(benchmark: Benchmark, store: Store, allowed: int) -> dict[str, tuple[str, ...]]:
    """Split name -> listed ids without features; splits without any are left out.

    Raises:
        DataError: There are more than `allowed`.
    """
    have = frozenset(store.ids)
    missing = {
        split: ids
        for split in benchmark.splits
        if (ids := tuple(video for video in benchmark.ids(split) if video not in have))
    }
    count = sum(map(len, missing.values()))
    if count > allowed:
        where = [f"{len(ids)} in {split}" for split, ids in missing.items()]
        if len(store.parts) > 1:
            listed = set(benchmark.all_ids())
            lacking = {part.name: len(listed.difference(part.ids)) for part in store.parts}
            where += [f"{number} not in {name}" for name, number in lacking.items() if number]
        raise DataError(
            f"{count} listed videos of {benchmark.name} have no features, the first is "
            f"{next(iter(missing.values()))[0]!r} "
            f"({', '.join(where)}); run "
            f"`meid-bench extract --dataset {benchmark.name}` again, or accept it with "
            f"--allow-missing {count}"
        )
    return missing


def check_batch(batch: int, videos: int) -> None:
    """Refuse a batch that is larger than the training videos that have features.

    Raises:
        SettingError: It is.
    """
    if batch > videos:
        raise SettingError(
            f"Setting batch is {batch}, more than the {videos} training videos; use "
            f"--set batch={videos} or less"
        )


def draw_frames(batch: Batch, config: RunnerConfig) -> Tensor:
    """The frames of each video that a step sees, in order: (B, T, D) -> (B, count, D).

    `config.training_frames` is the count, all of them where it is None. A frame that comes twice
    in a row has a difference of zero, which is why the default is without replacement.
    """
    frames, width = batch.features.shape[1:]
    count = config.training_frames
    if config.with_replacement:
        return with_replacement(batch.features, batch, count or frames)
    if count is None or count >= frames:
        return batch.features
    chosen = batch.uniform(frames).topk(count, dim=1).indices
    index = chosen.sort(dim=1).values.unsqueeze(-1).expand(-1, -1, width)
    return batch.features.gather(1, index)
