"""Plan of an extraction: which videos of which shard are still to do, and who does them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meid_bench.benchmark.benchmark import SPLITS, Benchmark
from meid_bench.features.shard import shard_ids, shard_path
from meid_bench.features.write_store import shards


@dataclass(frozen=True)
class ShardPlan:
    """What is to do for one shard.

    Attributes:
        number: Of the shard.
        ids: The videos that it is for, sorted.
        pending: Those that it does not hold yet, sorted.
        seconds: What the pending ones last together; a guess where nobody knows.
    """

    number: int
    ids: tuple[str, ...]
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
        stored = set(shard_ids(path)) if path.is_file() else set()
        pending = tuple(video_id for video_id in ids if video_id not in stored)
        if pending:
            seconds = sum(lengths[video_id] for video_id in pending)
            plans.append(ShardPlan(number, ids, pending, seconds))
    return plans


def durations(benchmark: Benchmark) -> Mapping[str, float]:
    """Seconds of every video; the mean of the known ones, or 1, where it is not known."""
    videos = [video for split in SPLITS for video in benchmark.splits[split]]
    known = [video.length for video in videos if video.length]
    mean = sum(known) / len(known) if known else 1.0
    return {video.id: video.length or mean for video in videos}


def share(plans: Sequence[ShardPlan], ranks: int) -> list[list[ShardPlan]]:
    """Deal shards to ranks so that all of them end at about the same time.

    The longest shard goes first, each to the rank that has least; ties go to the lower number,
    so that every rank deals alike.

    Returns:
        One list a rank, in the order of shards.
    """
    hands: list[list[ShardPlan]] = [[] for _ in range(ranks)]
    load = [0.0] * ranks
    for plan in sorted(plans, key=lambda plan: (-plan.seconds, plan.number)):
        rank = load.index(min(load))
        hands[rank].append(plan)
        load[rank] += plan.seconds
    return [sorted(hand, key=lambda plan: plan.number) for hand in hands]
