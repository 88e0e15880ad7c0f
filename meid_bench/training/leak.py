"""Leak: what a table's rows gain where the same people stand in train and in test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.results.bootstrap import Resampled, resample
from meid_bench.results.joint_intervals import CONFIDENCE, seed_draws
from meid_bench.results.kept_draws import cluster_videos
from meid_bench.results.score_file import load_test_scores
from meid_bench.training.paper_table import DISJOINT, Block
from meid_bench.training.reproduce import Reproduced

RESAMPLES = 2_000
MEAN = "mean of all rows"


@dataclass(frozen=True, slots=True)
class Drawn:
    """One row on one test list.

    Attributes:
        full: Its measures, (M,), means over its seeds.
        resampled: The same in each resample of the videos, and moved as other seeds may move
            them, (R, M).
    """

    full: NDArray[np.float64]
    resampled: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gain:
    """What a row has more on the official list, and its interval."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Leak:
    """The rows of a table on official lists and on subject-disjoint ones, in this order.

    Attributes:
        aggregator: Of the rows.
        benchmarks: The two.
        measures: "overall", "head", "medium", "tail".
        drawn: The rows, and `MEAN`, on each of the two.
        gains: Row, or `MEAN`, to measure to what it has more on the official list.
        seeds: Of the row that has fewest.
        same_features: Whether the features of both were made by one recipe.
    """

    aggregator: str
    benchmarks: tuple[Benchmark, Benchmark]
    measures: tuple[str, ...]
    drawn: tuple[Mapping[str, Drawn], Mapping[str, Drawn]]
    gains: Mapping[str, Mapping[str, Gain]]
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
        first, second = (
            with_mean(drawn_rows(each, side.part.benchmark.name))
            for each, side in zip(resampled, sides, strict=True)
        )
        measures = resampled[0].measures
        recipes = [side.part.store.manifest.recipe for side in sides]
        leak = Leak(
            aggregator=official.part.block.aggregator,
            benchmarks=(official.part.benchmark, disjoint.part.benchmark),
            measures=measures,
            drawn=(first, second),
            gains=differences(first, second, measures),
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
    return resample(scores, hot, clusters, benchmark.groups, RESAMPLES, seed)


def drawn_rows(resampled: Resampled, name: str) -> dict[str, Drawn]:
    """Every row as other videos and other seeds may move it; `name` is the test list's."""
    rows = list(resampled.means)
    drawn = {row: resampled.means[row].copy() for row in rows}
    for column in range(len(resampled.measures)):
        runs = [resampled.runs[row][:, column] for row in rows]
        _, moved = seed_draws([f"{row} on {name}" for row in rows], runs, len(drawn[rows[0]]))
        for row, by_seeds in zip(rows, moved, strict=True):
            drawn[row][:, column] += by_seeds
    return {row: Drawn(resampled.runs[row].mean(axis=0), drawn[row]) for row in rows}


def with_mean(rows: Mapping[str, Drawn]) -> dict[str, Drawn]:
    """The same with the mean of all rows as one more row."""
    full = np.mean([row.full for row in rows.values()], axis=0)
    resampled = np.mean([row.resampled for row in rows.values()], axis=0)
    return {**rows, MEAN: Drawn(full, resampled)}


def differences(
    first: Mapping[str, Drawn], second: Mapping[str, Drawn], measures: Sequence[str]
) -> dict[str, dict[str, Gain]]:
    """Each row's measures on one test list minus those on another, with basic intervals.

    With q the quantiles of the resampled differences and d the one of the full data, the interval
    is [2d - q(97.5 %), 2d - q(2.5 %)]: that takes out what repeated videos give to AP. Nothing
    pairs the resamples of two lists, so theirs must have been drawn independently. Where a subject
    stands in both, the intervals are wider than they need be. A measure that one list has not is
    left out.

    Reference: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 5.2.
    """
    found: dict[str, dict[str, Gain]] = {}
    tail = (1 - CONFIDENCE) / 2
    for row in first:
        full = first[row].full - second[row].full
        drawn = first[row].resampled - second[row].resampled
        upper, lower = 2 * full - np.nanquantile(drawn, [tail, 1 - tail], axis=0)
        known = ~np.isnan(full)
        found[row] = {
            measure: Gain(float(full[i]), float(lower[i]), float(upper[i]))
            for i, measure in enumerate(measures)
            if known[i]
        }
    return found


def shared_subjects(benchmark: Benchmark) -> tuple[int, int]:
    """How many subjects of test are in train too, and how many test has."""
    train, test = (
        {video.subject for video in benchmark.splits[split] if video.subject}
        for split in ("train", "test")
    )
    return len(train & test), len(test)
