"""Frames: which frames of a video are taken, and when they are."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Called with the number of a distinct frame, 0, 1, ..., and the frame, (H, W, 3) uint8 RGB.
Keep = Callable[[int, NDArray[np.uint8]], None]
# Distinct pictures of one video that are in memory together: 39 MB of 224 x 224 pixels.
ROOM = 256


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


@dataclass(frozen=True)
class FrameRule:
    """Which frames are taken of a video: at each of T segment centres a clip of L frames.

        n = 10, T = 3, L = 4, stride 2:   row 1 is 1 3 5 7      centre 5 + (j - L // 2) * 2
                                          row 2 is 4 6 8 9      10 is clamped to n - 1

    Where the clips need more than `room` distinct pictures, they are decoded in several passes
    over the file, each for the next rows.

    Attributes:
        frames: T.
        length: L; 1 takes the centres alone.
        stride: Frames of the video from one of a clip to the next.
        group: So many rows, counted from row 0, stay in one pass.
        first: The row that this pass begins with.
        room: Distinct pictures that a pass may have; at least those of one group.
    """

    frames: int
    length: int = 1
    stride: int = 1
    group: int = 1
    first: int = 0
    room: int = ROOM

    @property
    def pictures(self) -> int:
        """The most distinct pictures that a pass has."""
        return min(self.frames * self.length, max(self.room, self.group * self.length))

    def clips(self, num_frames: int) -> NDArray[np.int64]:
        """The clips of this pass, of a video of n frames.

        Returns:
            (r, L) int64 in [0, n), those of the rows from `first` on; L // 2 is the centre's place.

        Raises:
            ValueError: n or T is below 1.
        """
        centre = frame_indices(num_frames, self.frames)[self.first :, None]
        offset = (np.arange(self.length) - self.length // 2) * self.stride
        clips: NDArray[np.int64] = np.clip(centre + offset, 0, num_frames - 1)
        # A distinct frame counts for the row where it is first seen.
        seen = np.unique(clips, return_index=True)[1] // self.length
        needed = np.bincount(seen, minlength=len(clips)).cumsum()
        fit = int(np.count_nonzero(needed <= self.pictures))
        if fit < len(clips):
            fit -= fit % self.group
        return clips[:fit]


@dataclass(frozen=True, eq=False)
class DecodedFrames:
    """Which frames were taken of a video in a pass.

    Attributes:
        clips: (r, L) int64, which of the decoded frames each row's are; r is T in a single pass.
        time: (r,) float64, seconds from the first decoded frame to each row's centre.
        num_frames: Frames that decode, n.
        num_damaged: Frames that the decoder flagged as damaged or could not decode.
    """

    clips: NDArray[np.int64]
    time: NDArray[np.float64]
    num_frames: int
    num_damaged: int

    @property
    def index(self) -> NDArray[np.int64]:
        """(r,) int64, ascending: the centre of each row."""
        return centres(self.clips)

    @property
    def distinct(self) -> NDArray[np.int64]:
        """(m,) int64: the frames taken, each once, in the order of `Keep`'s numbers."""
        return np.unique(self.clips)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """(r, L) int64 in [0, m): which of the distinct frames each one is."""
        return np.searchsorted(self.distinct, self.clips)


def centres(clips: NDArray[np.int64]) -> NDArray[np.int64]:
    """The segment centres (r,) about which `FrameRule.clips` (r, L) are."""
    return clips[:, clips.shape[1] // 2]
