"""Enough: whether a benchmark's features are enough of them for a run."""

from collections.abc import Mapping

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import DataError, SettingError
from meid_bench.methods.runner_config import RunnerConfig


def check_missing(
    missing: Mapping[str, tuple[str, ...]], allowed: int, benchmark: Benchmark
) -> None:
    """Refuse more listed videos without features than are allowed.

    Raises:
        DataError: There are more.
    """
    count = sum(len(ids) for ids in missing.values())
    if count > allowed:
        first = next(iter(missing.values()))[0]
        raise DataError(
            f"{count} listed videos of {benchmark.name} have no features, the first is {first!r} "
            f"({', '.join(f'{len(ids)} in {split}' for split, ids in missing.items())}); run "
            f"`meid-bench extract --dataset {benchmark.name}` again, or accept it with "
            f"--allow-missing {count}"
        )


def check_batch(runner: RunnerConfig, videos: int) -> None:
    """Refuse a batch that is larger than the training videos that have features.

    Raises:
        SettingError: It is.
    """
    if runner.batch > videos:
        raise SettingError(
            f"Setting batch is {runner.batch}, more than the {videos} training videos; use "
            f"--set batch={videos} or less"
        )
