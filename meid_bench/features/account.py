"""Account: what a store holds of a benchmark, what failed and why, and what is damaged."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import MeidBenchError
from meid_bench.features.manifest import Failure
from meid_bench.features.npy_store import open_store
from meid_bench.features.shard import PATTERN, damaged_frames


@dataclass(frozen=True)
class Account:
    """Every listed video is counted once, in `stored`, `failed` or `untried`.

    Attributes:
        folder: The store.
        listed: How many videos the benchmark has.
        stored: How many of them have features.
        failed: Those that could not be read, by id.
        untried: Those that have not been tried.
        damaged: Stored ones with damaged frames: id to how many.
    """

    folder: Path
    listed: int
    stored: int
    failed: Mapping[str, Failure]
    untried: tuple[str, ...]
    damaged: Mapping[str, int]


class UnfinishedError(MeidBenchError):
    """An extraction ended early; `account` is what its store holds."""

    def __init__(self, sentence: str, account: Account) -> None:
        super().__init__(sentence)
        self.account = account


def take_account(benchmark: Benchmark, folder: Path) -> Account:
    """Read a store's account from the disk.

    Raises:
        DataError: A shard or the manifest is damaged.
    """
    store = open_store(folder)
    listed, stored, failures = benchmark.all_ids(), set(store.ids), store.failures
    shards = [damaged_frames(path) for path in sorted(folder.glob(PATTERN))]
    missing = [name for name in listed if name not in stored]
    return Account(
        folder=folder,
        listed=len(listed),
        stored=len(listed) - len(missing),
        failed={name: failures[name] for name in missing if name in failures},
        untried=tuple(name for name in missing if name not in failures),
        damaged={name: count for shard in shards for name, count in shard.items() if count},
    )
