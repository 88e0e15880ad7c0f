"""Which videos an epoch draws: uniform, class-balanced, square-root; seeded and pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meid_bench.methods.method import Sampler


@dataclass(frozen=True)
class Draws:
    """An epoch's videos in order.

    Attributes:
        index: (N,) int64, positions among the training videos.
        picked: (N,) int64, the class for which each was drawn, or None where none was.
    """

    index: NDArray[np.int64]
    picked: NDArray[np.int64] | None


class EpochSampler:
    """Draws as many videos an epoch as there are, the same for a seed on every platform.

    "uniform" visits each video once, in random order. "class_balanced" draws a class uniformly
    among those with videos, then one of its videos uniformly. "square_root" draws the class in
    proportion to the square root of its count instead.

    Reference: Kang et al. (ICLR 2020), eq. 1 with q = 1, 0 and 1/2; for videos with many labels,
    and for the length of an epoch, VideoLT's ResamplingDataset_Mask (ops/feature_loader.py at
    1732d5c).

    Differs: a class without videos is never drawn; that code fails on it with a KeyError.
    """

    def __init__(self, labels: NDArray[np.uint8], sampler: Sampler) -> None:
        """Prepare the lists of each class's videos from multi-hot labels (N, C)."""
        self.size = len(labels)
        self.sampler = sampler
        counts = labels.sum(0, dtype=np.int64)
        self._class_of, self._videos = np.nonzero(labels.T)
        self._counts = counts
        self._first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        weights = (counts > 0).astype(float) if sampler == "class_balanced" else np.sqrt(counts)
        self.class_probability: NDArray[np.float64] = weights / max(weights.sum(), 1e-12)

    def draw(self, seed: int, stage: int, epoch: int) -> Draws:
        """The draws of one epoch; they depend on these three numbers and the labels alone."""
        random = np.random.default_rng([seed, stage, epoch])
        if self.sampler == "uniform":
            return Draws(random.permutation(self.size), None)
        classes = random.choice(len(self._counts), size=self.size, p=self.class_probability)
        within = (random.random(self.size) * self._counts[classes]).astype(np.int64)
        return Draws(self._videos[self._first[classes] + within], classes)


def batches(size: int, batch: int) -> list[slice]:
    """Consecutive slices of `batch`; a last one of a single video joins the one before.

    Batch normalisation has no variance over one video.
    """
    ends = [*range(batch, size - 1, batch), size] if size else []
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
