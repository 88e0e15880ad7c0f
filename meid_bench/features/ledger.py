"""Ledger: which shards are still to do, by whom, and the thread that writes each in one piece."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from meid_bench.benchmark.benchmark import SPLITS, Benchmark
from meid_bench.features.manifest import Failure, update_failures
from meid_bench.features.shard import (
    VideoFeatures,
    read_shard,
    shard_ids,
    shard_path,
    shards,
    write_error,
    write_shard,
)

# Videos that may wait for the disk; more come while a shard is written.
WAITING = 16


@dataclass(frozen=True)
class ShardPlan:
    """What is to do for one shard.

    Attributes:
        number: Of the shard.
        pending: Ids of the videos that it does not hold yet, sorted.
        seconds: What these last together; a guess where nobody knows.
    """

    number: int
    pending: tuple[str, ...]
    seconds: float


def plan_shards(benchmark: Benchmark, folder: Path) -> list[ShardPlan]:
    """The shards of a benchmark that are not finished, in order.

    Videos that failed before are pending: they may have been mended.

    Raises:
        DataError: A shard that is there cannot be read.
    """
    lengths = durations(benchmark)
    plans = []
    for number, ids in shards(benchmark.all_ids()).items():
        path = shard_path(folder, number)
        stored = set(shard_ids(path)) if path.exists() else set()
        pending = tuple(video_id for video_id in ids if video_id not in stored)
        if pending:
            seconds = sum(lengths[video_id] for video_id in pending)
            plans.append(ShardPlan(number, pending, seconds))
    return plans


def durations(benchmark: Benchmark) -> Mapping[str, float]:
    """Seconds of every video; the mean of the known ones, or 1, where it is not known."""
    videos = [video for split in SPLITS for video in benchmark.splits[split]]
    known = [video.length for video in videos if video.length]
    mean = sum(known) / len(known) if known else 1.0
    return {video.id: video.length or mean for video in videos}


def partition(plans: Sequence[ShardPlan], ranks: int) -> list[list[ShardPlan]]:
    """Deal shards to ranks so that all of them end at about the same time.

    The longest shard goes first, each to the rank that has least; ties go to the lower number,
    so that every rank deals alike.

    Returns:
        One list a rank, in the order of shards.
    """
    parts: list[list[ShardPlan]] = [[] for _ in range(ranks)]
    load = [0.0] * ranks
    for plan in sorted(plans, key=lambda plan: (-plan.seconds, plan.number)):
        rank = load.index(min(load))
        parts[rank].append(plan)
        load[rank] += plan.seconds
    return [sorted(part, key=lambda plan: plan.number) for part in parts]


class Ledger:
    """Gathers what became of each video, and writes a shard once all of its videos are in.

    A thread of its own writes, so that decoding and encoding never wait for a disk. Features of
    unfinished shards stay in memory: of the shard in progress, and of one more for each video
    that is still in flight while later ones are done.

    Args:
        folder: The store.
        plans: The shards that are to be done.
    """

    def __init__(self, folder: Path, plans: Sequence[ShardPlan]) -> None:
        self._folder = folder
        self._plan = {video_id: plan for plan in plans for video_id in plan.pending}
        self._unfinished: dict[int, list[VideoFeatures | Failure]] = {}
        self._room = threading.Semaphore(WAITING)
        self._error: BaseException | None = None
        self._writer = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.shutdown()
        if kind is None:
            self.check()

    def enter(self, entry: VideoFeatures | Failure) -> None:
        """Take what became of a pending video; waits while a disk is slow."""
        self.check()
        self._room.acquire()
        self._writer.submit(self._take, entry)

    def check(self) -> None:
        """Raise what the writing thread has raised: a full disk, most likely."""
        if self._error is not None:
            raise self._error

    def _take(self, entry: VideoFeatures | Failure) -> None:
        try:
            if self._error is not None:
                return
            plan = self._plan[entry.id]
            entries = self._unfinished.setdefault(plan.number, [])
            entries.append(entry)
            if len(entries) == len(plan.pending):
                self._write(plan, self._unfinished.pop(plan.number))
        except OSError as error:
            self._error = write_error(self._folder, error)
        except BaseException as error:
            self._error = error
        finally:
            self._room.release()

    def _write(self, plan: ShardPlan, entries: Sequence[VideoFeatures | Failure]) -> None:
        """Write the new videos of a shard with those that it has already, then the failures."""
        path = shard_path(self._folder, plan.number)
        videos = [entry for entry in entries if isinstance(entry, VideoFeatures)]
        if videos:
            stored = read_shard(path) if path.is_file() else ()
            write_shard(path, sorted([*stored, *videos], key=lambda video: video.id))
        failed = [entry for entry in entries if isinstance(entry, Failure)]
        update_failures(self._folder, plan.pending, failed)
