"""Leak: what a table's rows gain where the same people stand in train and in test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from meid_bench.benchmark import Benchmark
from meid_bench.board.bootstrap import Resampled, resample
from meid_bench.board.joint import Interval, Joint
from meid_bench.board.kept_draws import cluster_videos
from meid_bench.board.score_file import load_test_scores
from meid_bench.running.papertable import DISJOINT, Block
from meid_bench.running.reproduce import Reproduced

RESAMPLES = 2_000
MEAN = "mean of all rows"


@dataclass(frozen=True)
class Leak:
    """The rows of a table on official lists and on subject-disjoint ones, in this order.

    Attributes:
        aggregator: Of the rows.
        benchmarks: The two.
        resampled: The rows, and `MEAN`, under resamples of each test list.
        gains: Row, or `MEAN`, to measure to the interval of official - disjoint.
        seeds: Of the row that has fewest.
        same_features: Whether the features of both were made by one recipe.
    """

    aggregator: str
    benchmarks: tuple[Benchmark, Benchmark]
    resampled: tuple[Resampled, Resampled]
    gains: Mapping[str, Mapping[str, Interval]]
    seeds: int
    same_features: bool


def leaks(reproduced: Sequence[Reproduced]) -> list[Leak]:
    """For each pair of official and subject-disjoint lists that were run with one aggregator.

    Rows that failed on either side are left out.

    Raises:
        DataError: A run's scores are missing or damaged.
    """
    found = []
    for official, disjoint in permutations(reproduced, 2):
        labels = [label for label in official.rows if label in disjoint.rows]
        if not labels or not _paired(official.part.block, disjoint.part.block):
            continue
        sides = (official, disjoint)
        resampled = _resampled(official, labels, seed=0), _resampled(disjoint, labels, seed=1)
        recipes = [side.part.store.manifest["recipe"] for side in sides]
        leak = Leak(
            aggregator=official.part.block.aggregator,
            benchmarks=(official.part.benchmark, disjoint.part.benchmark),
            resampled=resampled,
            gains=differences(*resampled),
            seeds=min(len(side.rows[label].runs) for side in sides for label in labels),
            same_features=recipes[0] == recipes[1],
        )
        found.append(leak)
    return found


def _paired(official: Block, disjoint: Block) -> bool:
    return replace(official, dataset=DISJOINT.get(official.dataset, "")) == disjoint


def _resampled(one: Reproduced, labels: Sequence[str], seed: int) -> Resampled:
    benchmark = one.part.benchmark
    scores = {
        label: [load_test_scores(run, benchmark) for run in one.rows[label].runs]
        for label in labels
    }
    clusters, _ = cluster_videos(benchmark)
    hot = benchmark.labels("test")
    return with_mean(resample(scores, hot, clusters, benchmark.groups, RESAMPLES, seed))


def with_mean(resampled: Resampled) -> Resampled:
    """The same with the mean of all rows as one more row, of as many seeds as all of them have."""
    seeds = min(len(runs) for runs in resampled.runs.values())
    of_seeds = np.mean([runs[:seeds] for runs in resampled.runs.values()], axis=0)
    full = np.mean(list(resampled.full.values()), axis=0)
    return replace(
        resampled,
        runs={**resampled.runs, MEAN: of_seeds - of_seeds.mean(axis=0) + full},
        means={**resampled.means, MEAN: np.mean(list(resampled.means.values()), axis=0)},
    )


def differences(first: Resampled, second: Resampled) -> dict[str, dict[str, Interval]]:
    """Each row's measures on one test list minus those on another, with intervals.

    Nothing pairs the resamples of two lists, so theirs must have been drawn independently. Where
    a subject stands in both, the intervals are wider than they need be. Each holds by itself.
    """
    found: dict[str, dict[str, Interval]] = {}
    for row in first.runs:
        sides = Resampled(
            measures=first.measures,
            runs={"first": first.runs[row], "second": second.runs[row]},
            means={"first": first.means[row], "second": second.means[row]},
            clusters=min(first.clusters, second.clusters),
        )
        intervals = {
            measure: Joint(sides, measure).interval("first", "second") for measure in first.measures
        }
        found[row] = {name: interval for name, interval in intervals.items() if interval}
    return found


def shared_subjects(benchmark: Benchmark) -> tuple[int, int]:
    """How many subjects of test are in train too, and how many test has."""
    train, test = (
        {video.subject for video in benchmark.splits[split] if video.subject}
        for split in ("train", "test")
    )
    return len(train & test), len(test)
