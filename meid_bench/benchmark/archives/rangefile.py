"""RangeFile: a remote file that zipfile and tarfile can seek and read, fetching what they read."""

import io

from meid_bench.benchmark.archives.remote import Remote, Stream

# Where the directory of a zip is found: its end record, with the comment behind it.
TAIL = 1 << 16
# Rather than a new request, read on over a gap as small as this.
SKIP = 1 << 14


class RangeFile(io.RawIOBase):
    """A seekable file over byte ranges; one thread each, the `Remote` may be shared.

    Args:
        remote: The file; its server must serve ranges.
        ahead: Bytes to ask for at a time where nothing is expected.
        kept: Bytes known already, (position, bytes) each: a zip's directory, which every thread
            reads and one fetches.
        keeping: Add what is fetched to `kept`.
    """

    def __init__(
        self,
        remote: Remote,
        ahead: int = 0,
        kept: tuple[tuple[int, bytes], ...] = (),
        *,
        keeping: bool = False,
    ) -> None:
        size = remote.version().size
        assert size is not None  # a server that serves ranges tells the size with each
        self.size = size
        self.kept = kept
        self._remote = remote
        self._ahead = ahead
        self._keeping = keeping
        self._position = 0
        self._stream: Stream | None = None
        self._expected = (0, 0)

    def expect(self, start: int, end: int) -> None:
        """Say that [start, end) will be read in order: it is asked for at once."""
        self._expected = (start, end)

    def read(self, size: int | None = -1, /) -> bytes:
        """Exactly `size` bytes, or those left until the end."""
        left = max(self.size - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        data = self._from_kept(wanted) if wanted else b""
        if data is None:
            data = self._from_stream(wanted)
            if self._keeping:
                self.kept = (*self.kept, (self._position, data))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move; nothing is fetched."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position of the next byte."""
        return self._position

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Close the connection; the remote file may be read on by others."""
        self._drop()
        super().close()

    def _from_kept(self, wanted: int) -> bytes | None:
        for start, data in self.kept:
            begin = self._position - start
            if begin >= 0 and begin + wanted <= len(data):
                return data[begin : begin + wanted]
        return None

    def _from_stream(self, wanted: int) -> bytes:
        stream = self._stream
        gap = -1 if stream is None else self._position - stream.position
        last = self._position + wanted
        if stream is None or not 0 <= gap <= SKIP or last > (stream.end or 0):
            self._drop()
            start, end = self._expected
            if not start <= self._position < end:
                end = self._position + self._ahead
            stream = self._remote.stream(self._position, min(max(last, end), self.size))
            self._stream, gap = stream, 0
        _read(stream, gap)
        return _read(stream, wanted)

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _read(stream: Stream, size: int) -> bytes:
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
