"""Ledger: which shards are to do, by which rank, and the thread that writes them."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from meid_bench.benchmark.benchmark import SPLITS, Benchmark
from meid_bench.features.manifest import Failure, update_failures
from meid_bench.features.shard import (
    VideoFeatures,
    damaged_frames,
    read_shard,
    shard_path,
    shards,
    write_error,
    write_shard,
)


@dataclass(frozen=True)
class ShardPlan:
    """A shard that is not finished.

    Attributes:
        number: The shard's.
        pending: Ids of the videos that it does not hold, sorted.
        seconds: Their duration together, estimated where it is unknown.
    """

    number: int
    pending: tuple[str, ...]
    seconds: float


def plan_shards(benchmark: Benchmark, folder: Path) -> list[ShardPlan]:
    """The unfinished shards of a benchmark, in order; videos that failed are tried again.

    Raises:
        DataError: A stored shard cannot be read.
    """
    lengths = durations(benchmark)
    plans = []
    for number, ids in shards(benchmark.all_ids()).items():
        path = shard_path(folder, number)
        stored = damaged_frames(path) if path.exists() else {}
        if pending := tuple(name for name in ids if name not in stored):
            plans.append(ShardPlan(number, pending, sum(lengths[name] for name in pending)))
    return plans


def durations(benchmark: Benchmark) -> Mapping[str, float]:
    """Seconds of every video; the mean of the known ones, or 1, where unknown."""
    videos = [video for split in SPLITS for video in benchmark.splits[split]]
    known = [video.length for video in videos if video.length]
    mean = sum(known) / len(known) if known else 1.0
    return {video.id: video.length or mean for video in videos}


def partition(plans: Sequence[ShardPlan], ranks: int) -> list[list[ShardPlan]]:
    """Deal shards to ranks, one list a rank: the longest first, each to the rank with least.

    Ties go to the lower number, so that every rank computes the same.
    """
    parts: list[list[ShardPlan]] = [[] for _ in range(ranks)]
    load = [0.0] * ranks
    for plan in sorted(plans, key=lambda plan: (-plan.seconds, plan.number)):
        rank = load.index(min(load))
        parts[rank].append(plan)
        load[rank] += plan.seconds
    return [sorted(part, key=lambda plan: plan.number) for part in parts]


class Ledger:
    """Gathers what became of each video, and writes a shard once all its videos are in.

    A thread writes, so that decoding and encoding do not wait for the disk, unless a second shard
    is complete before the first is written. In memory are one shard that is written, the one in
    progress, and one more for each video that still decodes while later ones are done.

    Args:
        folder: The store.
        plans: The shards to do.
    """

    def __init__(self, folder: Path, plans: Sequence[ShardPlan]) -> None:
        self._folder = folder
        self._plan = {name: plan for plan in plans for name in plan.pending}
        self._unfinished: dict[int, list[VideoFeatures | Failure]] = {}
        self._lock = threading.Lock()
        self._writer = ThreadPoolExecutor(1)
        self._writing = self._writer.submit(lambda: None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.shutdown()
        if kind is None:
            self.check()

    def enter(self, entry: VideoFeatures | Failure) -> None:
        """Take what became of a pending video; any thread may call this.

        Raises:
            DataError: The shard before could not be written.
        """
        with self._lock:
            plan = self._plan[entry.id]
            entries = self._unfinished.setdefault(plan.number, [])
            entries.append(entry)
            if len(entries) == len(plan.pending):
                self._writing.result()
                del self._unfinished[plan.number]
                self._writing = self._writer.submit(self._write, plan, entries)

    def check(self) -> None:
        """Raise what the writing thread has raised, most likely for a full disk."""
        if self._writing.done():
            self._writing.result()

    def _write(self, plan: ShardPlan, entries: Sequence[VideoFeatures | Failure]) -> None:
        """Write the new videos of a shard with the stored ones, then the failures."""
        path = shard_path(self._folder, plan.number)
        videos = [entry for entry in entries if isinstance(entry, VideoFeatures)]
        failed = [entry for entry in entries if isinstance(entry, Failure)]
        if videos:
            stored = read_shard(path) if path.is_file() else ()
            write_shard(path, sorted([*stored, *videos], key=lambda video: video.id))
        try:
            update_failures(self._folder, plan.pending, failed)
        except OSError as error:
            raise write_error(self._folder, error) from error
