"""Archive: an untrusted zip or tar, checked before any of its members is copied out."""

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

from meid_bench.errors import DataError
from meid_bench.files import atomic, named_when_full
from meid_bench.number_text import size_text

# No video or annotation file of any data set comes near these; a bomb does.
MEMBER_LIMIT = 8 << 30
RATIO_LIMIT = 200
RATIO_FROM = 1 << 20
BLOCK = 1 << 20


class DamagedError(DataError):
    """One member is damaged; the others need not be."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive.

    Attributes:
        size: Bytes when unpacked.
        crc: CRC-32 of these; None in a tar, which has none.
    """

    size: int
    crc: int | None = None


class Archive(ABC):
    """The files of an archive; a context manager that closes it.

    Args:
        file: Open for reading and seeking; closed with the archive.
        label: Its path or address, for messages.

    Attributes:
        label: As given.
        entries: Path inside the archive to entry, in the order of their bytes; no folders.

    Raises:
        DataError: It is cut, or a member is not fit to be unpacked.
    """

    def __init__(self, file: IO[bytes], label: str) -> None:
        self.label = label
        self._file = file
        self._entries: dict[str, Entry] = {}
        self._read_entries()

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Path inside the archive to entry."""
        return self._entries

    def find(self, path: str) -> str:
        """The member at `path`, or the only one with the same file name in another folder.

        Raises:
            DataError: There is none, or there are several.
        """
        if path in self.entries:
            return path
        name = PurePosixPath(path).name
        same = [other for other in self.entries if PurePosixPath(other).name == name]
        if len(same) != 1:
            raise DataError(
                f"{self.label} holds {len(same) or 'no'} {name}; {path} was expected, "
                "is it the right archive?"
            )
        return same[0]

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

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _read_entries(self) -> None:
        """Admit every member."""

    @abstractmethod
    def _open(self, path: str) -> IO[bytes]:
        """A member's bytes, unpacked."""

    def _admit(self, path: str, entry: Entry, packed: int, ordinary: bool) -> None:
        """Note a member that is fit to be unpacked.

        Raises:
            DataError: It would be written outside its folder, is no ordinary file, is there twice,
                or unpacks to more than any video has.
        """
        nothing = "nothing was unpacked, fetch the archive again from where you trust it"
        if (
            not path
            or path.startswith("/")
            or ".." in path.split("/")
            or "\\" in path
            or ":" in path.split("/", maxsplit=1)[0]
            or not path.isprintable()
        ):
            raise DataError(
                f"{self.label} has a member that points outside its folder, {path!r}; {nothing}"
            )
        if not ordinary:
            raise DataError(
                f"{self.label} has a member that is a link or a device, {path!r}; {nothing}"
            )
        size = entry.size
        if size > MEMBER_LIMIT or (size > RATIO_FROM and size > RATIO_LIMIT * max(packed, 1)):
            raise DataError(
                f"{self.label}: member {path} would unpack from {size_text(packed)} to "
                f"{size_text(size)}, as a zip bomb does; {nothing}"
            )
        if path in self._entries:
            raise DataError(f"{self.label} holds {path} twice; it is not the official archive")
        self._entries[path] = entry

    @contextmanager
    def _reading(self, path: str) -> Iterator[IO[bytes]]:
        """Open a member; whatever the library says of a damaged one becomes a sentence."""
        try:
            with self._open(path) as member:
                yield member
        # The libraries' ways to say "damaged": a wrong CRC or header, a cut or a garbled stream,
        # a name that is no UTF-8, an unknown compression, a password.
        except (
            *(zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError),
            *(NotImplementedError, RuntimeError, tarfile.TarError),
        ) as error:
            raise self._damaged(path, str(error) or type(error).__name__) from error

    def _damaged(self, path: str, why: str) -> DamagedError:
        return DamagedError(
            f"{self.label}: member {path} is damaged ({why}); fetch the archive again"
        )

    def _cut(self, kind: str, why: object) -> DataError:
        return DataError(
            f"{self.label} is cut, or no {kind} file ({why}); remove it and fetch it again"
        )


class ZipArchive(Archive):
    """A zip file, 64-bit ones too; every copy is checked against its member's CRC-32."""

    def _read_entries(self) -> None:
        try:
            self._zip = zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
            raise self._cut("zip", error) from error
        for info in sorted(self._zip.infolist(), key=lambda info: info.header_offset):
            if info.filename.endswith("/"):
                continue
            if not 0 <= info.header_offset < self._zip.start_dir:
                where = f"member {info.filename!r} would begin at byte {info.header_offset}"
                raise self._cut("zip", where)
            # The upper half holds Unix's file mode, where the zip was made on Unix.
            ordinary = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
            entry = Entry(info.file_size, info.CRC)
            self._admit(info.filename, entry, info.compress_size, ordinary)

    def _open(self, path: str) -> IO[bytes]:
        return self._zip.open(path)


class TarArchive(Archive):
    """An uncompressed tar; it holds no sums, so that members are checked by their length."""

    def _read_entries(self) -> None:
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            self._tar = tarfile.TarFile(fileobj=self._file)
            for info in self._tar:
                if not info.isdir():
                    path = info.name.removeprefix("./")
                    ordinary = info.isreg() and not info.issparse()
                    self._admit(path, Entry(info.size), info.size, ordinary)
                    self._members[path] = info
            # tarfile takes a header that it cannot read for the end. The end is a block of zeros.
            self._file.seek(self._tar.offset)
            if self._file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"there is no header at byte {self._tar.offset}")
        except (tarfile.TarError, EOFError) as error:
            raise self._cut("tar", error) from error

    def _open(self, path: str) -> IO[bytes]:
        member = self._tar.extractfile(self._members[path])
        assert member is not None  # only ordinary files were admitted
        return member


def open_archive(path: Path) -> Archive:
    """Open an archive on the disk; its name says whether it is a zip or a tar.

    Raises:
        DataError: It is cut, neither of the two, or not fit to be unpacked.
    """
    kind = {".zip": ZipArchive, ".tar": TarArchive}.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"{path.name} is neither a .zip nor a .tar; unpack it and name its folder")
    file = path.open("rb")
    try:
        return kind(file, str(path))
    except BaseException:
        file.close()
        raise


def _crc32(file: Path) -> int:
    crc = 0
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            crc = zlib.crc32(block, crc)
    return crc
