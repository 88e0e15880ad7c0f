"""Frames: which frames of a video are taken, and when they are."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Called with the number of a distinct frame, 0, 1, ..., and the frame, (H, W, 3) uint8 RGB.
Keep = Callable[[int, NDArray[np.uint8]], None]


def frame_indices(num_frames: int, wanted: int) -> NDArray[np.int64]:
    """The centres of `wanted` equal segments of a video.

        n = 10, T = 3:   0 1 2 3 | 4 5 6 | 7 8 9      floor((i + 0.5) * n / T)
                           ^         ^       ^         = 1, 5, 8

    Computed in integers: floats are off by one for one clip in eight.

    Args:
        num_frames: n >= 1, frames that decode.
        wanted: T >= 1; more than n repeats frames.

    Returns:
        (T,) int64, ascending, in [0, n).

    Raises:
        ValueError: n or T is below 1.
    """
    if num_frames < 1 or wanted < 1:
        raise ValueError(f"frames and wanted must be at least 1, not {num_frames} and {wanted}")
    return (2 * np.arange(wanted, dtype=np.int64) + 1) * num_frames // (2 * wanted)


@dataclass(frozen=True, eq=False)
class DecodedFrames:
    """Which frames were taken of a video.

    Attributes:
        index: (T,) int64, ascending, which of the decoded frames each one is.
        time: (T,) float64, seconds from the first decoded frame.
        num_frames: Frames that decode, n.
        num_damaged: Frames that the decoder flagged as damaged or could not decode.
    """

    index: NDArray[np.int64]
    time: NDArray[np.float64]
    num_frames: int
    num_damaged: int

    @property
    def distinct(self) -> NDArray[np.int64]:
        """(m,) int64: the frames taken, each once, in the order of `Keep`'s numbers."""
        return np.unique(self.index)

    @property
    def rows(self) -> NDArray[np.int64]:
        """(T,) int64 in [0, m): which of the distinct frames each one is."""
        return np.searchsorted(self.distinct, self.index)
