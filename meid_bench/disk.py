"""Disk: room for what is about to be written, asked before and named when it runs out."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from meid_bench.errors import DataError

# What a file system needs beside the files' own bytes: names, blocks begun, our manifests.
MARGIN = 64 << 20


def readable(size: float) -> str:
    """A number of bytes for people, "16.3GB": powers of ten, as disks and downloads count."""
    return tqdm.format_sizeof(size, "B", 1000)


def check_space(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what cannot end.

    Args:
        folder: Where it would be written; it need not exist yet.
        needed: Bytes.
        what: What they are, for the message: "3,694 videos".

    Raises:
        DataError: The disk has less than that, and a margin, free.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed and free < needed + MARGIN:
        raise DataError(
            f"No space for {what} in {folder}: {readable(needed)} are needed, {readable(free)} "
            "are free; make room, or name another disk with --root"
        )


@contextmanager
def named_when_full(folder: Path) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" into a sentence that names the folder.

    Raises:
        DataError: The disk filled up inside the block.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(
            f"No space left in {folder}; make room and run the same command again, "
            "it goes on where it stopped"
        ) from error
