"""Files: where they lie, written whole or not at all, with room on the disk, by one process."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from meid_bench.errors import DataError
from meid_bench.number_text import size_text

HOME_VARIABLE = "MEID_BENCH_HOME"


def home() -> Path:
    """The data root: $MEID_BENCH_HOME, or ./data."""
    return Path(os.environ.get(HOME_VARIABLE) or "data")


def packaged_splits() -> Path:
    """The folder of packaged split specifications, in a wheel or in a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "splits"
    return installed if installed.is_dir() else here.parent / "splits"


def benchmark_dir(root: Path, benchmark: str) -> Path:
    """What `build` wrote of one benchmark: benchmark.json and manifest.json."""
    return root / "benchmarks" / benchmark


def downloads_dir(root: Path) -> Path:
    """Official files as they were fetched."""
    return root / "downloads"


def videos_dir(root: Path, archive: str) -> Path:
    """Unpacked videos of one archive; benchmarks from the same archive share them."""
    return root / "videos" / archive


def features_dir(root: Path, benchmark: str) -> Path:
    """The feature stores of one benchmark, a folder each."""
    return root / "features" / benchmark


def runs_dir(root: Path, benchmark: str) -> Path:
    """The runs of one benchmark, a folder each with its record."""
    return root / "runs" / benchmark


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is synced and takes that name.

    A kill at any moment leaves either the old file or the new one, never a part of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    # By the system's own rule for new files: to ask for the umask is to set it, for all threads.
    created = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    mode = stat.S_IMODE(os.fstat(created).st_mode)
    os.close(created)
    try:
        yield temporary
        temporary.chmod(mode)  # safetensors' save_file puts a file of its own, 0600, in its place
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file or nothing."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


# What a file system needs beside the files' own bytes: names, blocks begun, our manifests.
MARGIN = 64 << 20


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
            f"No space for {what} in {folder}: {size_text(needed)} are needed, {size_text(free)} "
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


@contextmanager
def locked(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock file, or refuse at once; a killed process releases it.

    The file stays: deleted, one process could hold the old file and another a new one.

    Args:
        lock: The file; its folder is made where it is missing.
        what: What only one process may do, for the message: "build".

    Raises:
        DataError: Another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise DataError(
            f"Another {what} is running ({lock} is locked); wait for it to end"
        ) from None
    try:
        yield
    finally:
        held.release()
