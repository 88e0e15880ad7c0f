"""Unpack: many members of one archive to files, several at a time."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path

from meid_bench.benchmark.archives.archive import Archive, DamagedError
from meid_bench.disk import check_space
from meid_bench.errors import DataError
from meid_bench.progress import Progress


def unpack(
    opener: Callable[[], Archive],
    wanted: Mapping[str, Path],
    workers: int,
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Copy members of an archive to files, each whole and verified or not at all.

    One damaged member does not keep the others: it is reported when they are done.

    Args:
        opener: Opens the archive; called once a thread, for one's reads are not another's.
        wanted: Member to the file that it becomes; those that are there already are left out
            by the caller.
        workers: Threads.
        stop: Called when the user interrupts, so that threads in the middle of a wait end.

    Raises:
        ChangedError: The archive is another one than when it was opened first.
        DataError: A member is damaged, or the disk is full.
    """
    if not wanted:
        return
    folder = next(iter(wanted.values())).parent
    with opener() as archive:
        sizes = {member: archive.entries[member].size for member in wanted}
    check_space(folder, sum(sizes.values()), f"{len(wanted)} files")
    with _Team(opener, sum(sizes.values()), len(wanted)) as team:
        pool = ThreadPoolExecutor(workers)
        # In the archive's order, a disk reads on and a server's connection stays warm.
        futures = [pool.submit(team.copy, member, target) for member, target in wanted.items()]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
    team.report(futures)


class _Team:
    """What the threads of one `unpack` share."""

    def __init__(self, opener: Callable[[], Archive], size: int, count: int) -> None:
        self._opener = opener
        self._count = count
        self._done = 0
        self._damaged: list[DamagedError] = []
        self._lock = threading.Lock()
        self._thread = threading.local()
        self._archives: list[Archive] = []
        self._progress = Progress(size, "videos", "bytes")

    def __enter__(self) -> "_Team":
        self._progress.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for archive in self._archives:
            archive.close()
        self._progress.__exit__(None, None, None)

    def copy(self, member: str, target: Path) -> None:
        """Copy one member; a damaged one is noted, anything else ends the whole."""
        try:
            self._archive().copy(member, target, self._moved)
        except DamagedError as error:
            with self._lock:
                self._damaged.append(error)
            return
        with self._lock:
            self._done += 1
            self._progress.update(0, self._note())

    def report(self, futures: list[Future[None]]) -> None:
        """Raise what ended the whole, or else what was damaged."""
        for future in futures:
            if not future.cancelled():
                future.result()
        if self._damaged:
            more = f" ({len(self._damaged)} members failed)" if len(self._damaged) > 1 else ""
            raise DataError(f"{self._damaged[0]}{more}") from self._damaged[0]

    def _archive(self) -> Archive:
        if not hasattr(self._thread, "archive"):
            self._thread.archive = self._opener()
            with self._lock:
                self._archives.append(self._thread.archive)
        archive: Archive = self._thread.archive
        return archive

    def _moved(self, size: int) -> None:
        with self._lock:
            self._progress.update(size, self._note())

    def _note(self) -> str:
        return f"{self._done}/{self._count} files"
