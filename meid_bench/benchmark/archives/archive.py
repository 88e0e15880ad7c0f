"""Archive: a zip or tar of someone else's, opened with suspicion, copied out member by member."""

import stat
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Self

from meid_bench.benchmark.archives.rangefile import RangeFile
from meid_bench.disk import named_when_full, readable
from meid_bench.errors import DataError
from meid_bench.files import atomic

# No video or annotation file of any data set comes near these; a bomb does.
MEMBER_LIMIT = 8 << 30
RATIO_LIMIT = 200
RATIO_FROM = 1 << 20
BLOCK = 1 << 20
# A local header repeats the name and may hold other extra fields than the directory's entry.
SLACK = 1024


class DamagedError(DataError):
    """One member is damaged; the others need not be."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive.

    Attributes:
        size: Bytes when unpacked.
        packed: Bytes in the archive.
        offset: Where these begin; in a zip, where the header before them does.
        crc: CRC-32 of the unpacked bytes; None in a tar, which has none.
    """

    size: int
    packed: int
    offset: int
    crc: int | None = None


class Archive(ABC):
    """The files of an archive; a context manager that closes it.

    Attributes:
        label: The archive's path or address, for messages.
        entries: Path inside the archive to entry; folders are left out.
    """

    label: str
    entries: Mapping[str, Entry]
    _file: IO[bytes]

    def find(self, path: str) -> str:
        """The member at `path`, or the only one with the same file name in another folder.

        Raises:
            DataError: There is none, or there are several.
        """
        if path in self.entries:
            return path
        name = PurePosixPath(path).name
        found = [other for other in self.entries if PurePosixPath(other).name == name]
        if len(found) != 1:
            raise DataError(
                f"{self.label} holds {len(found) or 'no'} {name}; {path} was expected, "
                "is it the right archive?"
            )
        return found[0]

    def copy(self, path: str, target: Path, moved: Callable[[int], None] | None = None) -> None:
        """Write one member to `target`, whole and verified, or not at all.

        Args:
            path: A key of `entries`.
            target: The file to write; its folder is made.
            moved: Called with the number of bytes after every block written.

        Raises:
            DamagedError: The member is damaged, or not as long as declared.
            DataError: The disk is full.
        """
        size = self.entries[path].size
        copied = 0
        with named_when_full(target.parent), atomic(target) as temporary:
            with temporary.open("wb") as out, self._reading(path) as member:
                while block := member.read(min(BLOCK, size + 1 - copied)):
                    copied += len(block)
                    if copied > size:
                        break
                    out.write(block)
                    if moved is not None:
                        moved(len(block))
            if copied != size:
                raise self._damaged(path, f"{size} bytes were declared, not {copied}")

    def holds(self, path: str, file: Path, *, thorough: bool) -> bool:
        """Whether `file` is that member, by its size, and if `thorough` by its CRC too.

        Without a CRC, as in a tar, a thorough comparison is not possible and never agrees.
        """
        entry = self.entries[path]
        if not file.is_file() or file.stat().st_size != entry.size:
            return False
        return not thorough or (entry.crc is not None and _crc32(file) == entry.crc)

    @contextmanager
    def _reading(self, path: str) -> Iterator[IO[bytes]]:
        """Open a member; whatever the library says of a damaged one becomes a sentence."""
        try:
            with self._open(path) as member:
                yield member
        # The libraries' ways to say "damaged": a wrong CRC or header, a cut or a garbled stream,
        # an unknown compression, a password.
        except (
            *(zipfile.BadZipFile, zlib.error, EOFError),
            *(NotImplementedError, RuntimeError, tarfile.TarError),
        ) as error:
            raise self._damaged(path, str(error) or type(error).__name__) from error

    def _expect(self, start: int, end: int) -> None:
        """Say which bytes come next, where it matters: one request instead of several."""
        if isinstance(self._file, RangeFile):
            self._file.expect(start, end)

    def _damaged(self, path: str, why: str) -> DamagedError:
        return DamagedError(
            f"{self.label}: member {path} is damaged ({why}); fetch the archive again"
        )

    @abstractmethod
    def _open(self, path: str) -> IO[bytes]:
        """A member's bytes, unpacked."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ZipArchive(Archive):
    """A zip file, 64-bit ones too; every copy is checked against its member's CRC-32.

    Args:
        file: Open for reading and seeking; closed with the archive.
        label: Its path or address.

    Raises:
        DataError: It is cut or no zip, or a member is not fit to be unpacked.
    """

    def __init__(self, file: IO[bytes], label: str) -> None:
        self.label, self._file = label, file
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
            raise DataError(
                f"{label} is cut, or no zip file ({error}); remove it and fetch it again"
            ) from error
        infos = [info for info in self._zip.infolist() if not info.is_dir()]
        entries: dict[str, Entry] = {}
        for info in infos:
            path, size, packed = info.filename, info.file_size, info.compress_size
            check_path(path, label)
            if not 0 <= info.header_offset < self._zip.start_dir:
                raise DataError(
                    f"{label} is cut, or no zip file (member {path} would begin at byte "
                    f"{info.header_offset}); remove it and fetch it again"
                )
            # The upper half holds Unix's file mode, where the zip was made on Unix.
            check_kind(path, label, stat.S_IFMT(info.external_attr >> 16))
            check_size(path, label, size, packed)
            add_entry(entries, path, Entry(size, packed, info.header_offset, info.CRC), label)
        self.entries = entries
        self._ends = self._find_ends(infos)

    def _find_ends(self, infos: list[zipfile.ZipInfo]) -> dict[str, int]:
        """Where each member's bytes end at the latest: the next begins, or its own size says so."""
        ordered = sorted(infos, key=lambda info: info.header_offset)
        bounds = [info.header_offset for info in ordered[1:]] + [self._zip.start_dir]
        return {
            info.filename: min(
                bound,
                info.header_offset + info.compress_size + len(info.filename.encode()) + SLACK,
            )
            for info, bound in zip(ordered, bounds, strict=True)
        }

    def _open(self, path: str) -> IO[bytes]:
        self._expect(self.entries[path].offset, self._ends[path])
        return self._zip.open(path)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()


def check_path(path: str, label: str) -> None:
    """Refuse a member that would be written outside the folder that it is unpacked into.

    Raises:
        DataError: It is absolute, climbs, or hides its folders from one system or another.
    """
    if (
        path.startswith("/")
        or ".." in path.split("/")
        or "\\" in path
        or ":" in path.split("/", maxsplit=1)[0]
        or not path.isprintable()
    ):
        raise DataError(
            f"{label} has a member that points outside its folder, {path!r}; nothing was "
            "unpacked, fetch the archive again from where you trust it"
        )


def check_kind(path: str, label: str, mode: int) -> None:
    """Refuse links and devices: `mode` is the file type's bits, 0 where the archive has none.

    Raises:
        DataError: The member is not an ordinary file.
    """
    if mode not in (0, stat.S_IFREG):
        raise DataError(
            f"{label} has a member that is a link or a device, {path!r}; nothing was unpacked, "
            "fetch the archive again from where you trust it"
        )


def check_size(path: str, label: str, size: int, packed: int) -> None:
    """Refuse a member that unpacks to more than any video has.

    Raises:
        DataError: It is too large, or grows by a factor that only a bomb has.
    """
    if size > MEMBER_LIMIT or (size > RATIO_FROM and size > RATIO_LIMIT * max(packed, 1)):
        raise DataError(
            f"{label}: member {path} would unpack from {readable(packed)} to {readable(size)}, "
            "as a zip bomb does; nothing was unpacked"
        )


def add_entry(entries: dict[str, Entry], path: str, entry: Entry, label: str) -> None:
    """Note an entry.

    Raises:
        DataError: The path is there already: which of the two is meant cannot be known.
    """
    if path in entries:
        raise DataError(f"{label} holds {path} twice; it is not the official archive")
    entries[path] = entry


def _crc32(file: Path) -> int:
    crc = 0
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            crc = zlib.crc32(block, crc)
    return crc
