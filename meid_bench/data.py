"""Features and labels of a split where training reads them, gathered by index."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meid_bench.benchmark import Benchmark
from meid_bench.errors import DataError
from meid_bench.features import FeatureSource

READ_AT_ONCE = 64  # videos, a shard's worth


@dataclass
class Examples:
    """One split's videos with features: what is trained on or scored.

    Attributes:
        ids: Video ids, N of them, in the benchmark's order without the missing ones.
        labels: (N, C) uint8 of 0 and 1.
        features: (N, T, D) float16, in host memory.
        device: Where batches are wanted.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.uint8]
    features: Tensor
    device: torch.device

    def __len__(self) -> int:
        """N, the number of videos."""
        return len(self.ids)

    def frames_of(self, index: NDArray[np.int64]) -> Tensor:
        """Features of some videos, (B, T, D) float32 on the device."""
        return self.features[torch.from_numpy(index)].to(self.device, non_blocking=True).float()

    def labels_of(self, index: NDArray[np.int64]) -> Tensor:
        """Labels of some videos, (B, C) float32 on the device."""
        return torch.from_numpy(self.labels[index]).to(self.device, non_blocking=True).float()


def load_examples(
    benchmark: Benchmark, store: FeatureSource, split: str, device: torch.device
) -> Examples:
    """Read the features of a split's videos; those without features are left out.

    Raises:
        DataError: None of the split's videos has features.
    """
    have = frozenset(store.ids)
    keep = [row for row, video in enumerate(benchmark.ids(split)) if video in have]
    if not keep:
        raise DataError(
            f"No video of {benchmark.name}'s {split} split has features; "
            f"run `meid-bench extract --dataset {benchmark.name}`"
        )
    ids = tuple(benchmark.ids(split)[row] for row in keep)
    features = np.empty((len(ids), store.frames, store.width), dtype=np.float16)
    for start in range(0, len(ids), READ_AT_ONCE):
        part = slice(start, start + READ_AT_ONCE)
        features[part] = store.read(ids[part])
    return Examples(ids, benchmark.labels(split)[keep], torch.from_numpy(features), device)


def missing_ids(benchmark: Benchmark, store: FeatureSource) -> dict[str, tuple[str, ...]]:
    """Split name -> listed ids without features; splits without any are left out."""
    have = frozenset(store.ids)
    missing = {
        split: tuple(video for video in benchmark.ids(split) if video not in have)
        for split in benchmark.splits
    }
    return {split: ids for split, ids in missing.items() if ids}


def draw_frames(features: Tensor, count: int | None, generator: torch.Generator) -> Tensor:
    """Some frames of each video, distinct and in order: (B, T, D) -> (B, count, D).

    Args:
        features: (B, T, D).
        count: How many, at most T; None for all, in which case nothing is drawn.
        generator: On the features' device.
    """
    batch, frames, width = features.shape
    if count is None or count >= frames:
        return features
    keys = torch.rand(batch, frames, generator=generator, device=features.device)
    chosen = keys.topk(count, dim=1).indices.sort(dim=1).values
    return features.gather(1, chosen.unsqueeze(-1).expand(-1, -1, width))


def in_order(size: int, batch: int) -> Iterator[NDArray[np.int64]]:
    """Positions 0..size-1, `batch` at a time."""
    for start in range(0, size, batch):
        yield np.arange(start, min(start + batch, size))
