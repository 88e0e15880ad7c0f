"""Shard: one HDF5 file with the features of up to 64 videos, written whole or not at all."""

import errno
import io
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import h5py
import numpy as np
from numpy.typing import NDArray

from meid_bench.errors import DataError
from meid_bench.paths import atomic

VIDEOS_PER_SHARD = 64
PATTERN = "part-*.h5"


@dataclass(frozen=True, eq=False)
class VideoFeatures:
    """What a store holds of one video.

    Attributes:
        id: The video's id.
        features: (T, D) float16, finite.
        frame_index: (T,) int32, which of the decoded frames each row is; ascending.
        frame_time: (T,) float32, seconds from the first frame; NaN where nobody knows.
        num_frames: Frames that really decode, n.
        num_damaged: Frames among them that the decoder flagged as damaged.
    """

    id: str
    features: NDArray[np.float16]
    frame_index: NDArray[np.int32]
    frame_time: NDArray[np.float32]
    num_frames: int
    num_damaged: int = 0

    def __post_init__(self) -> None:
        """Refuse what float16 could not hold, and shapes that disagree."""
        if self.features.ndim != 2 or self.features.dtype != np.float16:
            raise DataError(
                f"Video {self.id!r}: features are {self.features.shape} {self.features.dtype}, "
                "expected (T, D) float16"
            )
        if not np.isfinite(self.features).all():
            raise DataError(
                f"Video {self.id!r}: features hold NaN or infinity; expected finite float16"
            )
        frames = (len(self.features),)
        if self.frame_index.shape != frames or self.frame_time.shape != frames:
            raise DataError(
                f"Video {self.id!r}: {frames[0]} feature rows, but {self.frame_index.shape} "
                f"frame indices and {self.frame_time.shape} frame times"
            )


def shard_path(folder: Path, number: int) -> Path:
    """Path of shard `number`, the one of the sorted ids [64 number : 64 number + 64]."""
    return folder / f"part-{number:05d}.h5"


def write_shard(path: Path, videos: Sequence[VideoFeatures]) -> None:
    """Write a shard; `videos` in the order of their ids, of one (T, D), at least one.

    The file is put together in memory (52 MB for 64 videos of 200 x 2048) and written as plain
    bytes: HDF5 itself does not come through a full disk in one piece.

    Raises:
        DataError: The disk is full or the folder cannot be written to.
    """
    image = io.BytesIO()
    shape = videos[0].features.shape
    with h5py.File(image, "w") as file:
        features = file.create_dataset(
            "features", shape=(len(videos), *shape), dtype=np.float16, chunks=(1, *shape)
        )
        for row, video in enumerate(videos):
            features[row] = video.features
        file.create_dataset(
            "video_id", data=[video.id for video in videos], dtype=h5py.string_dtype()
        )
        for name, dtype in _PER_VIDEO.items():
            values = [getattr(video, name) for video in videos]
            file.create_dataset(name, data=np.asarray(values, dtype=dtype))
    try:
        with atomic(path) as temporary:
            temporary.write_bytes(image.getbuffer())
    except OSError as error:
        raise write_error(path.parent, error) from error


_PER_VIDEO = {
    "frame_index": np.int32,
    "frame_time": np.float32,
    "num_frames": np.int32,
    "num_damaged": np.int32,
}


def write_error(folder: Path, error: OSError) -> DataError:
    """The sentence for a folder that takes no more bytes."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    reason = "there is no space left" if full else error.strerror or str(error)
    return DataError(
        f"Cannot write to {folder}: {reason}; every finished shard is whole, mend that and run "
        "the same command again"
    )


def read_shard(path: Path, without: Container[str | None] = ()) -> list[VideoFeatures]:
    """Every video of a shard, in its order.

    Args:
        path: The file.
        without: Ids to leave out.

    Raises:
        DataError: The file is no shard, or holds a non-finite feature.
    """
    try:
        with h5py.File(path, "r") as file:
            columns = {name: file[name][()] for name in _PER_VIDEO}
            features = file["features"][()]
            ids = file["video_id"].asstr()[()]
            return [
                VideoFeatures(
                    id=str(ids[row]),
                    features=features[row],
                    frame_index=columns["frame_index"][row],
                    frame_time=columns["frame_time"][row],
                    num_frames=int(columns["num_frames"][row]),
                    num_damaged=int(columns["num_damaged"][row]),
                )
                for row in range(len(ids))
                if str(ids[row]) not in without
            ]
    except (OSError, KeyError, ValueError, IndexError, TypeError) as error:
        raise unreadable(path, error) from error


class OpenShard:
    """A shard's features read as plain bytes, by several threads at once.

    HDF5 lets one thread in at a time and copies twice; an uncompressed chunk, a video each, can be
    read from where it lies.

    Raises:
        DataError: The file is no shard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        try:
            with h5py.File(path, "r") as file:
                features = file["features"]
                plain = features.compression is None and features.dtype == np.float16
                if not plain or features.chunks != (1, *features.shape[1:]):
                    raise TypeError("its features are not one plain float16 chunk a video")
                chunks: dict[int, int] = {}
                features.id.chunk_iter(
                    lambda chunk: chunks.__setitem__(chunk.chunk_offset[0], chunk.byte_offset)
                )
                self._offsets = [chunks[row] for row in range(len(features))]
            self._file = path.open("rb", buffering=0)
        except (OSError, KeyError, TypeError, AttributeError) as error:
            raise unreadable(path, error) from error

    def read(self, row: int, out: NDArray[np.float16]) -> None:
        """Read the features of the video in `row` into `out`, (T, D) and contiguous.

        Raises:
            DataError: The file ends too early.
        """
        view = out.data.cast("B")
        with self._lock:
            self._file.seek(self._offsets[row])
            count = self._file.readinto(view)
        if count != len(view):
            raise unreadable(self.path, EOFError(f"{count} of {len(view)} bytes in row {row}"))


def shard_ids(path: Path) -> list[str]:
    """The ids of a shard's videos, in its order.

    Raises:
        DataError: The file is no shard.
    """
    try:
        with h5py.File(path, "r") as file:
            return [str(name) for name in file["video_id"].asstr()[()]]
    except (OSError, KeyError, TypeError) as error:
        raise unreadable(path, error) from error


def damaged_videos(path: Path) -> dict[str, int]:
    """Of a shard's videos those with damaged frames: id to how many.

    Raises:
        DataError: The file is no shard.
    """
    try:
        with h5py.File(path, "r") as file:
            counts = file["num_damaged"][()]
            ids = file["video_id"].asstr()[()]
            return {str(ids[row]): int(counts[row]) for row in np.flatnonzero(counts)}
    except (OSError, KeyError, TypeError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> DataError:
    """The sentence for a file that is no shard."""
    return DataError(
        f"{path} is no readable shard ({error}); `meid-bench verify --repair` takes it out"
    )
