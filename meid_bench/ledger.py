"""Ledger: gathers what became of each video, and writes a shard once all of its videos are in."""

import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from meid_bench.failures import Failure, update_failures
from meid_bench.plan import ShardPlan
from meid_bench.shard import (
    VIDEOS_PER_SHARD,
    VideoFeatures,
    read_shard,
    shard_path,
    write_shard,
)

# How often a thread that waits looks whether the writing one has failed, in seconds.
LOOK = 0.2


class Ledger:
    """A thread that writes, so that decoding and encoding never wait for a disk.

    Args:
        folder: The store.
        plans: The shards that are to be done.
    """

    def __init__(self, folder: Path, plans: Sequence[ShardPlan]) -> None:
        self._folder = folder
        self._plan = {video_id: plan for plan in plans for video_id in plan.pending}
        self._entries: dict[int, list[VideoFeatures | Failure]] = {}
        self._queue: queue.Queue[VideoFeatures | Failure | None] = queue.Queue(VIDEOS_PER_SHARD)
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
                plan = self._plan[entry.id]
                entries = self._entries.setdefault(plan.number, [])
                entries.append(entry)
                if len(entries) == len(plan.pending):
                    self._close(plan, self._entries.pop(plan.number))
        except BaseException as error:
            self._error = error

    def _close(self, plan: ShardPlan, entries: Sequence[VideoFeatures | Failure]) -> None:
        path = shard_path(self._folder, plan.number)
        videos = [entry for entry in entries if isinstance(entry, VideoFeatures)]
        if videos:
            stored = read_shard(path) if path.is_file() else []
            write_shard(path, sorted([*stored, *videos], key=lambda video: video.id))
        failed = [entry for entry in entries if isinstance(entry, Failure)]
        update_failures(self._folder, plan.pending, failed)
