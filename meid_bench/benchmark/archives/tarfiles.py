"""TarArchive: a tar walked header by header, with an index that can be kept and gone on with."""

import io
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, cast

from meid_bench.benchmark.archives.archive import (
    Archive,
    Entry,
    add_entry,
    check_kind,
    check_path,
    check_size,
)
from meid_bench.errors import DataError

# A header, and the long name or the extended header that may stand before it.
HEADERS = 1 + 3 * tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class Step:
    """One file of a tar, and where the next header begins."""

    path: str
    entry: Entry
    next: int


class TarArchive(Archive):
    """An uncompressed tar; it holds no sums, so that only lengths can be verified.

    Args:
        file: Open for reading and seeking; closed with the archive.
        label: Its path or address.
        entries: Its files, where they are known from an earlier walk; None walks it.

    Raises:
        DataError: It is cut or no tar, or a member is not fit to be unpacked.
    """

    def __init__(
        self, file: IO[bytes], label: str, entries: Mapping[str, Entry] | None = None
    ) -> None:
        self.label, self._file = label, file
        if entries is None:
            entries = {}
            for step in walk(file, label):
                add_entry(entries, step.path, step.entry, label)
        self.entries = entries

    def _open(self, path: str) -> IO[bytes]:
        entry = self.entries[path]
        self._expect(entry.offset, entry.offset + entry.size)
        return cast(IO[bytes], _Part(self._file, entry.offset, entry.size))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Part(io.RawIOBase):
    """The bytes [start, start + size) of a file."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._left = file, size
        file.seek(start)

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        self._left -= len(data)
        return data


def walk(file: IO[bytes], label: str, start: int = 0) -> Iterator[Step]:
    """Yield every file of a tar, in its order, from the header at `start` on.

    Only headers are read, so that over a network a large tar costs little more than a request
    for each of its files.

    Args:
        file: Open for reading and seeking.
        label: Its path or address.
        start: 0, or the `next` of a step of an earlier walk.

    Raises:
        DataError: A header is cut or damaged, or a member is not fit to be unpacked.
    """
    size = file.seek(0, io.SEEK_END)
    position = file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (info := tar.next()) is not None:
                position = info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if info.isdir():
                    continue
                path = info.name.removeprefix("./")
                check_path(path, label)
                check_kind(path, label, stat.S_IFREG if info.isreg() else stat.S_IFLNK)
                check_size(path, label, info.size, info.size)
                if position > size:
                    raise tarfile.ReadError(f"{path} is cut")
                yield Step(path, Entry(info.size, info.size, info.offset_data), position)
        # tarfile takes a header that it cannot read for the end. The end is a block of zeros.
        file.seek(position)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"there is no header at byte {position}")
    except (tarfile.TarError, EOFError) as error:
        raise DataError(
            f"{label} is cut, or no tar file ({error}); remove it and fetch it again"
        ) from error
