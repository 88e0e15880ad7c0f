"""Download: a whole file over HTTP, resumed where it stopped and verified by size and sum."""

import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meid_bench.benchmark.archives.remote import ChangedError, NoRangesError, Remote, Version
from meid_bench.benchmark.build_manifest import OfficialFile
from meid_bench.codec import decode, read_json, write_json
from meid_bench.errors import DataError
from meid_bench.files import check_space, named_when_full
from meid_bench.progress import Progress

BLOCK = 1 << 16
# How often a file that cannot be continued is started again.
ATTEMPTS = 8
# Hashing less than this is done before a bar could be read.
QUIET = 256 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Begun:
    """What the part of a file that was fetched so far belongs to."""

    url: str
    version: Version


def download(
    url: str, path: Path, size: int | None = None, sha256: str | None = None
) -> OfficialFile:
    """Fetch a file, or the rest of it; it takes its name only when verified.

    The part fetched so far lies beside it, `<name>.part`, with the version that it belongs to,
    `<name>.part.json`; it is only ever continued by the same version.

    Args:
        url: The address.
        path: The file to write; one that exists is verified and kept.
        size: Bytes that it must have, or None.
        sha256: The sum that it must have, or None.

    Raises:
        DataError: It cannot be fetched, is not what it should be, or does not fit on the disk.
    """
    if path.is_file():
        return verify_file(path, size, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    for attempt in range(ATTEMPTS):
        try:
            version = _fetch(url, part, size)
            break
        except (ChangedError, NoRangesError) as error:
            # The part cannot be continued: it belongs to another version, or this server only
            # ever starts at the beginning.
            log.warning("%s; starting again", error)
            part.unlink(missing_ok=True)
            if attempt == ATTEMPTS - 1:
                raise DataError(
                    f"{url} could not be read to its end in {ATTEMPTS} attempts; try another "
                    "time, or fetch it by other means and name its folder with --source"
                ) from error
    try:
        found = verify_file(part, size, sha256)
    except DataError as error:
        part.unlink()
        raise DataError(f"{url} gave another file: {error}") from None
    else:
        part.replace(path)
    finally:
        _beside(part).unlink(missing_ok=True)
    return OfficialFile(url, found.bytes, found.sha256, version.etag)


def check_size(url: str, size: int | None, expected: int | None) -> None:
    """Compare the size that a server names with the published one, where there are both.

    Raises:
        DataError: They differ.
    """
    if None not in (size, expected) and size != expected:
        raise DataError(
            f"{url} has {size} bytes, {expected} were expected; it is another file than "
            "the official one, name a mirror or a folder with --source"
        )


def verify_file(path: Path, size: int | None = None, sha256: str | None = None) -> OfficialFile:
    """Compare a file with its published size and sum, where there are any.

    Args:
        path: The file.
        size: Bytes expected, or None.
        sha256: Sum expected, or None.

    Raises:
        DataError: It is another file; the sentence holds what was expected and what was found.
    """
    seen = path.stat().st_size
    if size is not None and seen != size:
        raise DataError(
            f"{path} has {seen} bytes, {size} were expected; remove it and fetch it again"
        )
    found = file_sha256(path)
    if sha256 is not None and found != sha256:
        raise DataError(
            f"{path} has the sha256 {found}, {sha256} was expected; remove it and fetch it again"
        )
    return OfficialFile(str(path.resolve()), seen, found)


def file_sha256(path: Path) -> str:
    """A file's sum, hexadecimal; a large one shows its progress."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size < QUIET:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        with Progress(size, f"verify {path.name}", "bytes") as progress:
            while block := file.read(1 << 24):
                digest.update(block)
                progress.update(len(block))
    return digest.hexdigest()


def _fetch(url: str, part: Path, size: int | None) -> Version:
    """Append to `part` until the file's end."""
    begun = _begun(part, url)
    done = part.stat().st_size if begun is not None else 0
    remote = Remote(url, begun)
    if begun is not None and done == begun.size:
        return begun
    with remote.stream(done) as stream, named_when_full(part.parent):
        first = stream.read(BLOCK)
        version = remote.version()
        check_size(url, version.size, size)
        check_space(part.parent, (version.size or 0) - done, part.stem)
        write_json(_beside(part), _Begun(url, version))
        with (
            part.open("ab" if done else "wb") as out,
            Progress(version.size, f"fetch {part.stem}", "bytes", done=done) as progress,
        ):
            block = first
            while block:
                out.write(block)
                progress.update(len(block))
                block = stream.read(BLOCK)
    return version


def _begun(part: Path, url: str) -> Version | None:
    """The version that a part belongs to, or None where there is no part to continue."""
    with suppress(OSError, ValueError):
        begun = decode(_Begun, read_json(_beside(part)))
        # Without an ETag nothing would tell a changed file of the same size.
        if begun.url == url and begun.version.etag is not None and part.stat().st_size > 0:
            return begun.version
    return None


def _beside(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
