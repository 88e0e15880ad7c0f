"""Opener: an archive on the disk or on a server, opened once for each thread that reads it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, cast

from meid_bench.archive import Archive, Entry, ZipArchive, add_entry
from meid_bench.errors import DataError
from meid_bench.paths import write_text
from meid_bench.progress import Progress
from meid_bench.rangefile import TAIL, RangeFile
from meid_bench.remote import Remote, Version
from meid_bench.schema import decode
from meid_bench.spec import filename
from meid_bench.tarfiles import HEADERS, TarArchive, walk

# Headers between two savings of a tar's index: what an interrupted walk loses at most.
SAVE_EVERY = 500


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
            self._entries = _tar_entries(remote, index)

    def __call__(self) -> Archive:
        """Open it for one thread."""
        file = cast(IO[bytes], RangeFile(self.remote, kept=self._kept))
        if self._entries is None:
            return ZipArchive(file, self.remote.url)
        return TarArchive(file, self.remote.url, self._entries)


@dataclass(frozen=True)
class _Index:
    """The files of a tar on a server, so that it is walked once.

    Attributes:
        version: Of the tar.
        next: Where the next header is to be read.
        complete: Whether the end was reached.
        files: Path to entry, of the headers before `next`.
    """

    version: Version
    next: int
    complete: bool
    files: Mapping[str, Entry]


def _tar_entries(remote: Remote, path: Path) -> Mapping[str, Entry]:
    version = remote.version()
    index = _load_index(path, version)
    if index.complete:
        return index.files
    files, position = dict(index.files), index.next
    file = cast(IO[bytes], RangeFile(remote, ahead=HEADERS))
    label = f"index of {filename(remote.url)}"
    with Progress(version.size, label, "bytes", done=position) as progress:
        for step in walk(file, remote.url, position):
            add_entry(files, step.path, step.entry, remote.url)
            progress.update(step.next - position, f"{len(files)} files")
            position = step.next
            if len(files) % SAVE_EVERY == 0:
                _save_index(path, _Index(version, position, False, files))
    _save_index(path, _Index(version, position, True, files))
    return files


def _load_index(path: Path, version: Version) -> _Index:
    """The index kept of that version, or an empty one."""
    with suppress(OSError, ValueError):
        index = decode(_Index, json.loads(path.read_text(encoding="utf-8")))
        if index.version == version:
            return index
    return _Index(version, 0, False, {})


def _save_index(path: Path, index: _Index) -> None:
    write_text(path, json.dumps(asdict(index), separators=(",", ":")))
