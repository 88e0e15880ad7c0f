"""Unpack: many members of one archive to files, several at a time."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from meid_bench.benchmark.archives.archive import Archive, DamagedError
from meid_bench.errors import DataError
from meid_bench.files import check_space
from meid_bench.progress import Progress


def unpack(
    opener: Callable[[], Archive],
    wanted: Mapping[str, Path],
    size: int,
    workers: int = 1,
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Copy members of an archive to files, each whole and verified or not at all.

    One damaged member does not keep the others: it is reported when they are done.

    Args:
        opener: Opens the archive; called once a thread, for one's reads are not another's.
        wanted: Member to the file that it becomes.
        size: Bytes of these members.
        workers: Threads.
        stop: Called when the user interrupts, so that threads in the middle of a wait end.

    Raises:
        ChangedError: The archive is another one than when it was opened first.
        DataError: A member is damaged, or the disk is full.
    """
    if not wanted:
        return
    check_space(next(iter(wanted.values())).parent, size, f"{len(wanted)} files")
    # In the archive's order, a disk reads on and a server's connection stays open.
    waiting = deque(wanted.items())
    damaged: list[DamagedError] = []
    done = 0
    lock = threading.Lock()
    progress = Progress(size, "videos", "bytes")

    def moved(size: int) -> None:
        with lock:
            progress.update(size, f"{done}/{len(wanted)} files")

    def work() -> None:
        nonlocal done
        with opener() as archive:
            while True:
                try:
                    member, target = waiting.popleft()
                except IndexError:
                    return
                try:
                    archive.copy(member, target, moved)
                except DamagedError as error:
                    damaged.append(error)
                else:
                    with lock:
                        done += 1
                    moved(0)

    with progress, ThreadPoolExecutor(workers) as pool:
        threads = [pool.submit(work) for _ in range(min(workers, len(wanted)))]
        try:
            wait(threads, return_when=FIRST_EXCEPTION)
        except BaseException:
            stop()
            raise
        finally:
            waiting.clear()  # each thread ends with the member that it is at
    for thread in threads:
        thread.result()
    if damaged:
        more = f" ({len(damaged)} members failed)" if len(damaged) > 1 else ""
        raise DataError(f"{damaged[0]}{more}") from damaged[0]
