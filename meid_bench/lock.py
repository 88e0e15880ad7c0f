"""Alone: one process at a time where two would write the same files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from meid_bench.errors import DataError


@contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock file, or refuse at once; a process that is killed lets go of it.

    The file stays: were it deleted, one process would hold the file that has gone and another a
    new one of its name.

    Args:
        lock: The file; its folder is made where it is missing.
        what: What may be at work once only, for the message: "build".

    Raises:
        DataError: Another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise DataError(
            f"Another {what} is at work ({lock} is locked); wait for it to end"
        ) from None
    try:
        yield
    finally:
        held.release()
