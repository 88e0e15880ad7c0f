"""Shard: one HDF5 file with the features of up to 64 videos, written whole or not at all."""

import errno
import os
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from meid_bench.errors import DataError
from meid_bench.features.checksum import Stamp, broken, sealed, stamp_of
from meid_bench.files import atomic

VIDEOS_PER_SHARD = 64
PATTERN = "part-*.h5"
BUFFERS_AT_ONCE = 1024  # that Linux and macOS fill by one call
# Datasets with a value or a row a video, beside its features and its id.
PER_VIDEO = {
    "frame_index": np.int32,
    "frame_time": np.float32,
    "num_frames": np.int32,
    "num_damaged": np.int32,
}


@dataclass(frozen=True, eq=False)
class VideoFeatures:
    """What a store holds of one video.

    Attributes:
        id: The video's id.
        features: (T, D) float16, finite.
        frame_index: (T,) int32, which of the decoded frames each row is; ascending.
        frame_time: (T,) float32, seconds from the first frame; NaN where unknown.
        num_frames: Frames that decode, n.
        num_damaged: Those of them that the decoder flagged as damaged.

    Raises:
        DataError: A shape or dtype is another, or a feature is not finite.
    """

    id: str
    features: NDArray[np.float16]
    frame_index: NDArray[np.int32]
    frame_time: NDArray[np.float32]
    num_frames: int
    num_damaged: int = 0

    def __post_init__(self) -> None:
        """Check shapes, dtype and values."""
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


def shards(ids: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Shard number to its ids: the sorted ids, 64 a shard, with those of videos that fail."""
    ordered = sorted(ids)
    return {
        start // VIDEOS_PER_SHARD: tuple(ordered[start : start + VIDEOS_PER_SHARD])
        for start in range(0, len(ordered), VIDEOS_PER_SHARD)
    }


def shard_path(folder: Path, number: int) -> Path:
    """Path of shard `number`, the one of the sorted ids [64 number : 64 number + 64]."""
    return folder / f"part-{number:05d}.h5"


def write_shard(path: Path, videos: Sequence[VideoFeatures]) -> None:
    """Make a shard in memory (tens of megabytes) and write it whole or not at all.

    Args:
        path: The file.
        videos: At least one, of one (T, D), in the order of their ids.

    Raises:
        DataError: The disk is full or the folder cannot be written to.
    """
    content = sealed(_image(videos))
    try:
        with atomic(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise write_error(path.parent, error) from error


def _image(videos: Sequence[VideoFeatures]) -> bytes:
    """The bytes of the HDF5 file, the same for the same videos."""
    with h5py.File("shard", "w", driver="core", backing_store=False) as file:
        shape = (len(videos), *videos[0].features.shape)
        # Contiguous: `Layout` reads a video by its offset.
        features = file.create_dataset("features", shape=shape, dtype=np.float16)
        for row, video in enumerate(videos):
            features[row] = video.features
        ids = [video.id for video in videos]
        file.create_dataset("video_id", data=ids, dtype=h5py.string_dtype())
        for name, dtype in PER_VIDEO.items():
            values = np.asarray([getattr(video, name) for video in videos], dtype=dtype)
            file.create_dataset(name, data=values)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def write_error(folder: Path, error: OSError) -> DataError:
    """The sentence for a folder that cannot be written to."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    reason = "there is no space left" if full else error.strerror or str(error)
    return DataError(
        f"Cannot write to {folder}: {reason}; every finished shard is whole, mend that and run "
        "the same command again"
    )


# What HDF5 and numpy raise about a file that is no shard.
FAULTS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a shard whose checksum is right.

    Raises:
        DataError: The checksum is wrong, or the block finds that the file is no shard.
    """
    if (reason := broken(path)) is not None:
        raise unreadable(path, reason)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FAULTS as error:
        # HDF5 adds the time, pointers and a line break to the system's message.
        number = getattr(error, "errno", None)
        raise unreadable(path, os.strerror(number) if number else str(error)) from error


def read_shard(path: Path, without: Container[str | None] = ()) -> Iterator[VideoFeatures]:
    """Read a shard's videos one by one, in its order, `without` some ids.

    Raises:
        DataError: The file is no shard, or holds a non-finite feature.
    """
    with opened(path) as file:
        columns = {name: file[name][()] for name in PER_VIDEO}
        for row, name in enumerate(_ids(file)):
            if name in without:
                continue
            yield VideoFeatures(
                id=name,
                features=file["features"][row],
                frame_index=columns["frame_index"][row],
                frame_time=columns["frame_time"][row],
                num_frames=int(columns["num_frames"][row]),
                num_damaged=int(columns["num_damaged"][row]),
            )


@dataclass(frozen=True)
class Layout:
    """Where a shard's features are in its file, for threads to read at once; HDF5 has one lock.

    Attributes:
        path: The file.
        ids: Its videos, in its order.
        offset: Where the first video's features begin, in bytes.
        stamp: Of the file when it was opened.
    """

    path: Path
    ids: tuple[str, ...]
    offset: int
    stamp: Stamp

    def read(self, row: int, out: NDArray[np.float16]) -> None:
        """Read the features of the video in `row` into `out`, (T, D), each row contiguous.

        Raises:
            DataError: The file has gone or changed since.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                # Size and mtime: a new link or mode is no change.
                if stamp_of(os.fstat(file.fileno()))[:2] != self.stamp[:2]:
                    raise DataError(f"{self.path} has changed while it was in use; start again")
                file.seek(self.offset + row * out.nbytes)
                if out.flags.c_contiguous:
                    count = file.readinto(out.data.cast("B"))
                else:  # columns of a wider array, which no second copy is needed for
                    pieces = [
                        out[i : i + BUFFERS_AT_ONCE] for i in range(0, len(out), BUFFERS_AT_ONCE)
                    ]
                    count = sum(os.readv(file.fileno(), list(piece)) for piece in pieces)
        except OSError as error:
            raise unreadable(self.path, error.strerror or str(error)) from error
        if count != out.nbytes:
            raise unreadable(self.path, f"{count} of {out.nbytes} bytes in row {row}")


def shard_layout(path: Path, frames: int, width: int) -> Layout:
    """The layout of a shard of features (n, frames, width).

    Raises:
        DataError: The file is no shard, or of another shape.
    """
    with opened(path) as file:
        features, ids = file["features"], _ids(file)
        expected = (len(ids), frames, width)
        offset = features.id.get_offset()
        if features.shape != expected or features.dtype != np.float16 or offset is None:
            raise TypeError(
                f"its features are {features.shape} {features.dtype}, expected contiguous "
                f"{expected} float16"
            )
        return Layout(path, tuple(ids), offset, stamp_of(path.stat()))


def damaged_frames(path: Path) -> dict[str, int]:
    """Every video of a shard, in its order: id to how many of its frames are damaged.

    Raises:
        DataError: The file is no shard.
    """
    with opened(path) as file:
        return dict(zip(_ids(file), file["num_damaged"][()].tolist(), strict=True))


def _ids(file: h5py.File) -> list[str]:
    return [str(name) for name in file["video_id"].asstr()[()]]


def unreadable(path: Path, reason: str) -> DataError:
    """The sentence for a file that is no shard or has changed."""
    return DataError(
        f"{path} is no readable shard ({reason}); `meid-bench verify --repair` takes it out"
    )
