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

from meid_bench.disk import named_when_full, readable
from meid_bench.errors import DataError
from meid_bench.paths import atomic
from meid_bench.rangefile import RangeFile

# No video or annotation file of any data set comes near these; a bomb does.
MEMBER_LIMIT = 8 << 30
RATIO_LIMIT = 200
RATIO_FROM = 1 << 20
BLOCK = 1 << 20
# A local header repeats the name and may hold other extra fields than the directory's entry.
SLACK = 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive: bytes when unpacked, bytes in the archive, where these begin."""

    size: int
    packed: int
    offset: int


class Archive(ABC):
    """The files of an archive; a context manager that closes it.

    Attributes:
        label: The archive's path or address, for messages.
        entries: Path inside the archive to entry; folders are left out.
    """

    label: str
    entries: Mapping[str, Entry]

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
            DataError: The member is damaged, or not as long as declared; or the disk is full.
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

    def _damaged(self, path: str, why: str) -> DataError:
        return DataError(f"{self.label}: member {path} is damaged ({why}); fetch the archive again")

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
        for info in infos:
            check_path(info.filename, label)
            # The upper half holds Unix's file mode, where the zip was made on Unix.
            check_kind(info.filename, label, stat.S_IFMT(info.external_attr >> 16))
            check_size(info.filename, label, info.file_size, info.compress_size)
        self.entries = _unique(
            label,
            (
                (info.filename, Entry(info.file_size, info.compress_size, info.header_offset))
                for info in infos
            ),
        )
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
        if isinstance(self._file, RangeFile):
            self._file.expect(self.entries[path].offset, self._ends[path])
        return self._zip.open(path)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()


def open_archive(path: Path) -> Archive:
    """Open an archive on this machine's disk; its name says whether it is a zip or a tar.

    Raises:
        DataError: It is cut, neither of the two, or not fit to be unpacked.
    """
    return ZipArchive(path.open("rb"), str(path))


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


def _unique(label: str, entries: Iterator[tuple[str, Entry]]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for path, entry in entries:
        if path in found:
            raise DataError(f"{label} holds {path} twice; it is not the official archive")
        found[path] = entry
    return found
