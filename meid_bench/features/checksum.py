r"""Checksum: a shard ends with the SHA-256 of its content, and HDF5 opens none where it is wrong.

    HDF5 file | "\nsha256 <64 hexadecimal digits>\n"

A flipped bit in a header can make HDF5 loop for ever; one among the features would pass unseen.
All of a shard is read when it is first used after it changed; sound ones are remembered in a file.
"""

import hashlib
import json
import os
import re
import stat
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from io import StringIO
from pathlib import Path

from meid_bench.codec import read_json
from meid_bench.cores import cores
from meid_bench.files import write_text
from meid_bench.progress import Progress

MEMORY = ".checked.json"
SEAL = re.compile(rb"\nsha256 ([0-9a-f]{64})\n")
SEAL_SIZE = 73
BLOCK = 1 << 20
# More than a tick of any file system's clock: within one, a changed file may have the same stamp.
SETTLED_SECONDS = 2.0
# Bytes of a check that takes long enough for a progress bar.
LONG = 1 << 30

# Size, mtime and ctime of a file: a copied file has another one.
Stamp = tuple[int, int, int]


def sealed(content: bytes) -> bytes:
    """A file's content with its checksum behind it."""
    return content + f"\nsha256 {hashlib.sha256(content).hexdigest()}\n".encode()


def broken(path: Path) -> str | None:
    """What is wrong with a sealed file, in words, or None; a known sound one is not read again."""
    return None if _is_known(path) else _read(path)


def broken_among(paths: Sequence[Path], afresh: bool = False) -> dict[Path, str]:
    """What is wrong with files of one folder; sound ones are left out.

    Args:
        paths: The files, read in parallel.
        afresh: Read those too that are remembered as sound.
    """
    new = [path for path in paths if afresh or not _is_known(path)]
    if not new:
        return {}
    folder = new[0].parent
    size = {path: path.stat().st_size if path.is_file() else 0 for path in new}
    faults = {}
    stream = sys.stderr if sum(size.values()) > LONG else StringIO()
    with (
        ThreadPoolExecutor(cores()) as pool,
        Progress(sum(size.values()), f"check {folder.name}", "bytes", stream=stream) as progress,
    ):
        for path, fault in zip(new, pool.map(_read, new), strict=True):
            if fault is not None:
                faults[path] = fault
            progress.update(size[path])
    _save(folder)
    return faults


def _read(path: Path) -> str | None:
    """Read all of a file, and remember it where it is sound."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            return "it is no file"
        with path.open("rb") as file:
            stamp = stamp_of(os.fstat(file.fileno()))
            digest, left = hashlib.sha256(), stamp[0] - SEAL_SIZE
            while left > 0 and (block := file.read(min(BLOCK, left))):
                digest.update(block)
                left -= len(block)
            found = SEAL.fullmatch(file.read())
    except OSError as error:
        return error.strerror or str(error)
    if found is None:
        return "it does not end with its checksum: it was cut off, changed, or written by others"
    if found[1].decode() != digest.hexdigest():
        return "its checksum is wrong: bytes have changed since it was written"
    if time.time() - max(stamp[1:]) / 1e9 > SETTLED_SECONDS:
        _known(path.parent)[path.name] = stamp
    return None


def _is_known(path: Path) -> bool:
    try:
        return _known(path.parent).get(path.name) == stamp_of(path.stat())
    except OSError:
        return False  # reading it will say why


def stamp_of(status: os.stat_result) -> Stamp:
    """A file's stamp: another one after a change."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@cache
def _known(folder: Path) -> dict[str, Stamp]:
    """Name to stamp of a folder's files that were found sound; `_read` adds to it."""
    try:
        stored = read_json(folder / MEMORY)
        return {name: (size, changed, touched) for name, (size, changed, touched) in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _save(folder: Path) -> None:
    with suppress(OSError):  # in a read-only folder, the next process reads them again
        names = {path.name for path in folder.iterdir()}
        known = {name: stamp for name, stamp in _known(folder).items() if name in names}
        write_text(folder / MEMORY, json.dumps(known) + "\n")
