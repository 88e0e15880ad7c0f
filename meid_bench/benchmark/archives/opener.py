"""Opener: an archive on the disk or on a server, opened once for each thread that reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO, cast

from meid_bench.benchmark.archives.archive import Archive, Entry, ZipArchive
from meid_bench.benchmark.archives.rangefile import TAIL, RangeFile
from meid_bench.benchmark.archives.remote import Remote
from meid_bench.benchmark.archives.tarfiles import TarArchive
from meid_bench.benchmark.archives.tarindex import tar_entries
from meid_bench.benchmark.spec import filename
from meid_bench.errors import DataError


def open_archive(path: Path) -> Archive:
    """Open an archive on the disk; its name says whether it is a zip or a tar.

    Raises:
        DataError: It is cut, neither of the two, or not fit to be unpacked.
    """
    kind = _kind(path.name)
    file = path.open("rb")
    try:
        return kind(file, str(path))
    except BaseException:
        file.close()
        raise


def _kind(name: str) -> type[ZipArchive] | type[TarArchive]:
    if name.lower().endswith(".zip"):
        return ZipArchive
    if name.lower().endswith(".tar"):
        return TarArchive
    raise DataError(f"{name} is neither a .zip nor a .tar; unpack it and name its folder")


class RemoteArchive:
    """An archive on a server that serves ranges; its directory is read once.

    Args:
        remote: The file.
        index: Where the index of a tar is kept.

    Raises:
        NoRangesError, ChangedError, DataError: As `Remote.version`; or as `open_archive`.
    """

    def __init__(self, remote: Remote, index: Path) -> None:
        self.remote = remote
        self._entries: Mapping[str, Entry] | None = None
        self._kept: tuple[tuple[int, bytes], ...] = ()
        if _kind(filename(remote.url)) is ZipArchive:
            # Read the directory, and the end record before which it stands, for every thread.
            file = RangeFile(remote, keeping=True)
            file.seek(max(file.size - TAIL, 0))
            file.read()
            ZipArchive(cast(IO[bytes], file), remote.url).close()
            self._kept = file.kept
        else:
            self._entries = tar_entries(remote, index)

    def __call__(self) -> Archive:
        """Open it for one thread."""
        file = cast(IO[bytes], RangeFile(self.remote, kept=self._kept))
        if self._entries is None:
            return ZipArchive(file, self.remote.url)
        return TarArchive(file, self.remote.url, self._entries)
