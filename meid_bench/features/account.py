"""Account: what a store holds of a benchmark, what failed and why, and what is damaged."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import MeidBenchError
from meid_bench.features.manifest import Failure
from meid_bench.features.npy_store import open_store
from meid_bench.features.shard import PATTERN, damaged_videos


@dataclass(frozen=True)
class Account:
    """Every listed video stands in exactly one of `stored`, `failed` and `untried`.

    Attributes:
        folder: The store.
        listed: Videos of the benchmark.
        stored: How many have features.
        failed: Those that could not be read, by id.
        untried: Those that nobody has tried yet.
        damaged: Stored ones with damaged frames: id to how many.
    """

    folder: Path
    listed: int
    stored: int
    failed: Mapping[str, Failure]
    untried: tuple[str, ...]
    damaged: Mapping[str, int]


class UnfinishedError(MeidBenchError):
    """Something stopped an extraction, and which videos have features all the same.

    Attributes:
        account: What there is.
    """

    def __init__(self, sentence: str, account: Account) -> None:
        super().__init__(sentence)
        self.account = account


def take_account(benchmark: Benchmark, folder: Path) -> Account:
    """Read a store's account from the disk.

    Raises:
        DataError: A shard or the manifest is damaged.
    """
    store = open_store(folder)
    listed = benchmark.all_ids()
    stored = set(store.ids)
    failures = store.failures
    damaged: dict[str, int] = {}
    for path in sorted(folder.glob(PATTERN)):
        damaged |= damaged_videos(path)
    missing = [video_id for video_id in listed if video_id not in stored]
    return Account(
        folder=folder,
        listed=len(listed),
        stored=len(listed) - len(missing),
        failed={name: failures[name] for name in missing if name in failures},
        untried=tuple(name for name in missing if name not in failures),
        damaged=damaged,
    )
