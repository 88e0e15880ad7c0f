"""Shard: one HDF5 file with the features of up to 64 videos, written whole or not at all."""

import errno
import io
import os
from collections.abc import Container, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from meid_bench.errors import DataError
from meid_bench.features.checksum import broken, seal
from meid_bench.files import atomic

VIDEOS_PER_SHARD = 64
PATTERN = "part-*.h5"
# Bytes below which a write of HDF5's may be of something that it reads again: no whole features.
SMALL = 1 << 16


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


def write_shard(path: Path, count: int, videos: Iterable[VideoFeatures]) -> None:
    """Write a shard, with one of its videos in memory at a time.

    Args:
        path: The file; it takes that name when it is whole.
        count: How many videos there are, at least one.
        videos: That many, of one (T, D), in the order of their ids.

    Raises:
        DataError: The disk is full or the folder cannot be written to.
    """
    try:
        with atomic(path) as temporary:
            with closing(_Target(temporary)) as target:
                with h5py.File(target, "w") as file:
                    _fill(file, count, videos)
                target.check()
            seal(temporary)
    except OSError as error:
        raise write_error(path.parent, error) from error


class _Target:
    """The file that HDF5 writes, and reads back from, as it goes.

    HDF5 does not come through a full or vanished disk in one piece, so it is not told: from the
    first error on everything is in memory, and `check` raises the error once HDF5 has closed. What
    HDF5 may read back, all but the features, is kept for that.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("w+b", buffering=0)
        self._error: OSError | None = None
        self._small: list[tuple[int, bytes]] = []

    def __getattr__(self, name: str) -> Any:
        """`seek`, `tell` and `flush` are the file's."""
        return getattr(self._file, name)

    def readinto(self, buffer: Any) -> int:
        """Read what was written."""
        start = self._file.tell()
        try:
            return self._file.readinto(buffer)  # type: ignore[attr-defined,no-any-return]
        except OSError as error:
            self._go_on_in_memory(error)
            self._file.seek(start)
            return self._file.readinto(buffer)  # type: ignore[attr-defined,no-any-return]

    def write(self, data: Any) -> int:
        """Write all of `data`, an array of bytes."""
        start, left = self._file.tell(), memoryview(data).cast("B")
        size = len(left)
        if size < SMALL and self._error is None:
            self._small.append((start, bytes(left)))
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._go_on_in_memory(error)
            self._file.seek(start)
            self._file.write(data)
        return size

    def truncate(self, size: int) -> int:
        """Make the file that long."""
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._go_on_in_memory(error)
            return self._file.truncate(size)

    def check(self) -> None:
        """Raise the error of a write that failed."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _go_on_in_memory(self, error: OSError) -> None:
        self._error = error
        with suppress(OSError):
            self._file.close()
        self._file = io.BytesIO()
        for start, data in self._small:
            self._file.seek(start)
            self._file.write(data)


def _fill(file: h5py.File, count: int, videos: Iterable[VideoFeatures]) -> None:
    """Write every dataset of a shard."""
    columns: dict[str, list[Any]] = {name: [] for name in ("id", *_PER_VIDEO)}
    features = None
    for row, video in zip(range(count), videos, strict=True):
        if features is None:
            shape = video.features.shape
            features = file.create_dataset(
                "features", shape=(count, *shape), dtype=np.float16, chunks=(1, *shape)
            )
        features[row] = video.features
        for name, column in columns.items():
            column.append(getattr(video, name))
    file.create_dataset("video_id", data=columns["id"], dtype=h5py.string_dtype())
    for name, dtype in _PER_VIDEO.items():
        file.create_dataset(name, data=np.asarray(columns[name], dtype=dtype))


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


# What HDF5 and numpy raise about a file that is no shard.
FAULTS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """A shard to read; its checksum is looked at before HDF5 sees it.

    Raises:
        DataError: The file is no shard, or not what was written, or the block finds it is none.
    """
    reason = broken(path)
    if reason is not None:
        raise unreadable(path, reason)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FAULTS as error:
        # HDF5 puts the time, pointers and a line's end behind what the system said.
        number = getattr(error, "errno", None)
        raise unreadable(path, os.strerror(number) if number else str(error)) from error


def read_shard(path: Path, without: Container[str | None] = ()) -> Iterator[VideoFeatures]:
    """Every video of a shard, in its order, each read as it is asked for.

    Args:
        path: The file.
        without: Ids to leave out.

    Raises:
        DataError: The file is no shard, or holds a non-finite feature.
    """
    with opened(path) as file:
        columns = {name: file[name][()] for name in _PER_VIDEO}
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
        with opened(path) as file:
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
            raise unreadable(self.path, f"{count} of {len(view)} bytes in row {row}")


def shard_ids(path: Path) -> list[str]:
    """The ids of a shard's videos, in its order.

    Raises:
        DataError: The file is no shard.
    """
    with opened(path) as file:
        return _ids(file)


def damaged_videos(path: Path) -> dict[str, int]:
    """Of a shard's videos those with damaged frames: id to how many.

    Raises:
        DataError: The file is no shard.
    """
    with opened(path) as file:
        counts, ids = file["num_damaged"][()], _ids(file)
        return {ids[row]: int(counts[row]) for row in np.flatnonzero(counts)}


def _ids(file: h5py.File) -> list[str]:
    return [str(name) for name in file["video_id"].asstr()[()]]


def unreadable(path: Path, reason: str) -> DataError:
    """The sentence for a file that is no shard."""
    return DataError(
        f"{path} is no readable shard ({reason}); `meid-bench verify --repair` takes it out"
    )
