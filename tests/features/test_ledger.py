"""Shards are dealt to ranks by duration, written once complete, and then no longer kept."""

import random
import weakref
from pathlib import Path

import pytest

from meid_bench.features.ledger import Ledger, ShardPlan, durations, partition, plan_shards
from meid_bench.features.shard import VideoFeatures, shard_path, write_shard
from tests.extraction import small_benchmark
from tests.features.test_store import video

pytestmark = pytest.mark.usefixtures("small_shards")


def plan(number: int, seconds: float) -> ShardPlan:
    return ShardPlan(number, (str(number),), seconds)


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_uneven_work_is_balanced_by_duration(ranks: int) -> None:
    lengths = random.Random(0)
    plans = [plan(number, lengths.uniform(100, 3000)) for number in range(58)]
    parts = partition(plans, ranks)
    assert sorted(p.number for part in parts for p in part) == list(range(58))
    assert all(part == sorted(part, key=lambda p: p.number) for part in parts)
    loads = [sum(p.seconds for p in part) for part in parts]
    assert max(loads) < 1.05 * sum(loads) / ranks + (ranks == 1)
    assert partition(plans[::-1], ranks) == parts


def test_more_ranks_than_shards_leave_some_idle() -> None:
    assert [len(part) for part in partition([plan(0, 5), plan(1, 9)], 3)] == [1, 1, 0]


def test_only_what_is_missing_is_planned(tmp_path: Path) -> None:
    ids = [f"v{number:02d}" for number in range(8)]
    benchmark = small_benchmark(tmp_path, ids, lengths={"v00": 10.0, "v07": 30.0})
    lengths = durations(benchmark)
    assert (lengths["v00"], lengths["v07"], lengths["v03"]) == (10, 30, 20)
    write_shard(shard_path(tmp_path, 0), [video("v00"), video("v02")])
    write_shard(shard_path(tmp_path, 1), [video(name) for name in ids[3:6]])
    assert plan_shards(benchmark, tmp_path) == [
        ShardPlan(0, ("v01",), 20),
        ShardPlan(2, ("v06", "v07"), 50),
    ]


def test_a_shard_has_the_same_bytes_whenever_its_videos_come(tmp_path: Path) -> None:
    path, whole = shard_path(tmp_path, 0), shard_path(tmp_path / "whole", 0)
    write_shard(whole, [video(name) for name in "abcd"])
    write_shard(path, [video("b")])
    with Ledger(tmp_path, [ShardPlan(0, ("a", "c", "d"), 1)]) as ledger:
        for name in "dac":
            ledger.enter(video(name))
    assert path.read_bytes() == whole.read_bytes()


def test_memory_does_not_grow_with_the_number_of_shards(tmp_path: Path) -> None:
    plans = [ShardPlan(n, tuple(f"v{n:02d}{i}" for i in range(3)), 1) for n in range(30)]
    seen: list[weakref.ref[VideoFeatures]] = []
    with Ledger(tmp_path, plans) as ledger:
        for name in (name for each in plans for name in each.pending):
            features = video(name)
            seen.append(weakref.ref(features))
            ledger.enter(features)
            # One shard that is filled, one that is written, and this video.
            assert sum(each() is not None for each in seen) <= 3 + 3 + 1
    assert len(list(tmp_path.glob("part-*.h5"))) == 30
