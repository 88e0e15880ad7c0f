"""Ledger: gathers what became of each video, and writes a shard once all of its videos are in."""

import queue
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path
from types import TracebackType
from typing import Self

from meid_bench.features.failures import Failure, update_failures
from meid_bench.features.shard import (
    VideoFeatures,
    read_shard,
    shard_ids,
    shard_path,
    write_error,
    write_shard,
)
from meid_bench.features.shard_plan import ShardPlan
from meid_bench.features.spool import Spool

# How often a thread that waits looks whether the writing one has failed, in seconds.
LOOK = 0.2
# Videos that may wait for the disk; more come while a shard is closed.
WAITING = 16


@dataclass(eq=False)
class _Open:
    """A shard in progress: what has come in of it."""

    spool: Spool
    failed: list[Failure] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.spool) + len(self.failed)


class Ledger:
    """A thread that writes, so that decoding and encoding never wait for a disk.

    Args:
        folder: The store.
        plans: The shards that are to be done.
    """

    def __init__(self, folder: Path, plans: Sequence[ShardPlan]) -> None:
        self._folder = folder
        self._plan = {video_id: plan for plan in plans for video_id in plan.pending}
        self._open: dict[int, _Open] = {}
        self._queue: queue.Queue[VideoFeatures | Failure | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._error is None:
            self._put(None)
        self._thread.join()
        if kind is None:
            self.check()

    def enter(self, entry: VideoFeatures | Failure) -> None:
        """Take what became of a pending video; waits while a disk is slow."""
        self._put(entry)

    def check(self) -> None:
        """Raise what the thread has raised: a full disk, most likely."""
        if self._error is not None:
            raise self._error

    def _put(self, entry: VideoFeatures | Failure | None) -> None:
        while True:
            self.check()
            try:
                return self._queue.put(entry, timeout=LOOK)
            except queue.Full:
                continue

    def _guarded(self) -> None:
        try:
            while (entry := self._queue.get()) is not None:
                self._take(entry)
        except OSError as error:
            self._error = write_error(self._folder, error)
        except BaseException as error:
            self._error = error

    def _take(self, entry: VideoFeatures | Failure) -> None:
        plan = self._plan[entry.id]
        if plan.number not in self._open:
            self._open[plan.number] = _Open(Spool(self._folder))
        shard = self._open[plan.number]
        if isinstance(entry, Failure):
            shard.failed.append(entry)
        else:
            shard.spool.put(entry)
        if len(shard) == len(plan.pending):
            del self._open[plan.number]
            with closing(shard.spool) as spool:
                if len(spool):
                    self._write(plan, spool)
            update_failures(self._folder, plan.pending, shard.failed)

    def _write(self, plan: ShardPlan, spool: Spool) -> None:
        """Write the new videos of a shard, and those that it has already."""
        path = shard_path(self._folder, plan.number)
        stored = shard_ids(path) if path.is_file() else []
        before = read_shard(path) if stored else ()
        both = merge(before, spool, key=lambda video: video.id)
        write_shard(path, len(stored) + len(spool), both)
