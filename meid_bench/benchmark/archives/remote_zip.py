"""RemoteZip: a zip on a server; its directory is fetched once, each member by one request."""

import io
import zipfile
from itertools import pairwise
from typing import IO, cast

from meid_bench.benchmark.archives.archive import ZipArchive
from meid_bench.benchmark.archives.remote import Remote, Stream

# The end of a zip: the record that says where its directory is, with the comment behind it.
TAIL = 1 << 16
# That of 9,848 videos takes a megabyte.
DIRECTORY_LIMIT = 256 << 20


class RangeFile:
    """A remote file with as much of a file's methods as zipfile calls; one a thread.

    What is read of a member comes from one request. Anything else that zipfile reads is the
    directory: it and all behind it stays in memory, as `tail`.

    Args:
        remote: The file, on a server that serves ranges; threads may share it.
        tail: The file's last bytes, where another thread has fetched them.
    """

    def __init__(self, remote: Remote, tail: bytes = b"") -> None:
        size = remote.version().size
        assert size is not None  # an answer with a range holds the size of the whole
        self.tail = tail
        self._size = size
        self._remote = remote
        self._position = 0
        self._member: Stream | None = None

    def begin_member(self, start: int, end: int) -> None:
        """Read [start, end) next, in order; nothing is fetched before it is read."""
        self.close()
        self._member = self._remote.stream(start, end)

    def read(self, size: int = -1, /) -> bytes:
        """`size` bytes, or those left until the end of the file or of the member."""
        left = max(self._size - self._position, 0)
        wanted = left if size < 0 else min(size, left)
        if self._member is None and left > len(self.tail):
            self._extend_tail()
        if left <= len(self.tail):
            begin = len(self.tail) - left
            data = self.tail[begin : begin + wanted]
        else:
            member = self._member
            assert member is not None  # without one, the tail was extended to here
            assert member.position <= self._position  # zipfile reads a member in order
            member.read_exactly(self._position - member.position)
            data = member.read_exactly(wanted)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move; nothing is fetched."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"no byte {base + offset} in a file")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position of the next byte."""
        return self._position

    def seekable(self) -> bool:
        """Yes, it is."""
        return True

    def close(self) -> None:
        """Close the connection."""
        if self._member is not None:
            self._member.close()
            self._member = None

    def _extend_tail(self) -> None:
        begin = min(self._position, max(self._size - TAIL, 0))
        end = self._size - len(self.tail)
        if end - begin > DIRECTORY_LIMIT:
            raise zipfile.BadZipFile(f"its directory would have {end - begin} bytes")
        with self._remote.stream(begin, end) as stream:
            self.tail = stream.read_exactly(end - begin) + self.tail


class RemoteZip(ZipArchive):
    """A zip on a server that serves ranges; one a thread.

    Args:
        remote: The file; threads may share it.
        tail: Another's `tail`, so that the directory is not fetched again.

    Raises:
        NoRangesError, ChangedError, RemoteError: As `Remote.version`.
        DataError: It is cut, no zip, or a member is not fit to be unpacked.
    """

    def __init__(self, remote: Remote, tail: bytes = b"") -> None:
        self._ranges = RangeFile(remote, tail)
        super().__init__(cast(IO[bytes], self._ranges), remote.url)
        starts = {info.header_offset for info in self._zip.infolist()}
        self._ends = dict(pairwise([*sorted(starts), self._zip.start_dir]))

    @property
    def tail(self) -> bytes:
        """The directory and all behind it, as it came."""
        return self._ranges.tail

    def _open(self, path: str) -> IO[bytes]:
        start = self._zip.getinfo(path).header_offset
        self._ranges.begin_member(start, self._ends[start])
        return super()._open(path)
