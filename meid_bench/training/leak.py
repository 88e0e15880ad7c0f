"""Leak: what a table's rows gain where the same people stand in train and in test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.number_text import difference_text, interval_text, score_text
from meid_bench.results.bootstrap import Resampled, resample
from meid_bench.results.joint_intervals import CONFIDENCE, seed_draws
from meid_bench.results.kept_draws import cluster_videos
from meid_bench.results.metrics import chance
from meid_bench.results.score_file import load_test_scores
from meid_bench.training.paper_table import DISJOINT
from meid_bench.training.reproduce import Reproduced

RESAMPLES = 2_000


@dataclass(frozen=True)
class ListDraws:
    """K rows of a table and their mean, as the last one, on one test list.

    Attributes:
        full: M measures on the full data, means over seeds, (K + 1, M).
        resampled: The same in each of R resamples of the videos, moved as other seeds may move
            them, (K + 1, R, M).
    """

    full: NDArray[np.float64]
    resampled: NDArray[np.float64]


@dataclass(frozen=True)
class Leak:
    """The rows of a table on official lists and on subject-disjoint ones, in this order.

    Attributes:
        aggregator: Of the rows.
        benchmarks: The two.
        labels: The rows, K of them, then their mean.
        measures: "overall", "head", "medium" and "tail".
        full: Measures on each of the two, (2, K + 1, M).
        low, high: Ends of the intervals of the first minus the second, (K + 1, M).
        seeds: Of the row that has fewest.
        same_features: Whether the features of both were made by one recipe.
    """

    aggregator: str
    benchmarks: tuple[Benchmark, Benchmark]
    labels: tuple[str, ...]
    measures: tuple[str, ...]
    full: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    seeds: int
    same_features: bool


def leaks(reproduced: Sequence[Reproduced]) -> list[Leak]:
    """For each pair of official and subject-disjoint lists that were run with one aggregator.

    Rows that failed on either side are left out.

    Raises:
        DataError: A run's scores are missing or damaged.
    """
    found = []
    for sides in permutations(reproduced, 2):
        official, disjoint = (side.part.block for side in sides)
        labels = [label for label in sides[0].rows if label in sides[1].rows]
        if not labels or replace(official, dataset=DISJOINT.get(official.dataset, "")) != disjoint:
            continue
        drawn = []
        for seed, side in enumerate(sides):
            benchmark = side.part.benchmark
            scores = {
                label: [load_test_scores(run, benchmark) for run in side.rows[label].runs]
                for label in labels
            }
            hot, (clusters, _) = benchmark.labels("test"), cluster_videos(benchmark)
            resampled = resample(scores, hot, clusters, benchmark.groups, RESAMPLES, seed)
            drawn.append(list_draws(resampled, benchmark.name))
        low, high = difference_intervals(*drawn)
        recipes = [[p.recipe for p in side.part.store.manifest.parts] for side in sides]
        leak = Leak(
            aggregator=official.aggregator,
            benchmarks=(sides[0].part.benchmark, sides[1].part.benchmark),
            labels=(*labels, "mean of all rows"),
            measures=resampled.measures,
            full=np.stack([each.full for each in drawn]),
            low=low,
            high=high,
            seeds=min(len(side.rows[label].runs) for side in sides for label in labels),
            same_features=recipes[0] == recipes[1],
        )
        found.append(leak)
    return found


def list_draws(resampled: Resampled, name: str) -> ListDraws:
    """Every row as other videos and other seeds may move it; `name` is the test list's."""
    drawn = np.stack(list(resampled.means.values()))
    runs = [resampled.runs[row] for row in resampled.means]
    for column in range(drawn.shape[2]):
        names = [f"{row} on {name}" for row in resampled.means]
        by_seeds = seed_draws(names, [each[:, column] for each in runs], drawn.shape[1])[1]
        drawn[:, :, column] += by_seeds
    full = np.stack([each.mean(axis=0) for each in runs])
    return ListDraws(
        *(np.concatenate([rows, rows.mean(0, keepdims=True)]) for rows in (full, drawn))
    )


def difference_intervals(
    first: ListDraws, second: ListDraws
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high ends, (K + 1, M), of the basic intervals of `first` - `second`.

    With q the quantiles of the resampled differences and d the one of the full data, the interval
    is [2d - q(97.5 %), 2d - q(2.5 %)]: that takes out what repeated videos give to AP. Nothing
    pairs the resamples of two lists, so theirs must have been drawn independently. Where a subject
    stands in both, the intervals are wider than they need be. NaN where one list has no such
    measure.

    Reference: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 5.2.
    """
    tail = (1 - CONFIDENCE) / 2
    drawn = first.resampled - second.resampled
    low, high = np.nanquantile(drawn, [1 - tail, tail], axis=1)
    full = first.full - second.full
    return 2 * full - low, 2 * full - high


def shared_subjects(benchmark: Benchmark) -> tuple[int, int]:
    """How many subjects of test are in train too, and how many test has."""
    train, test = (
        {video.subject for video in benchmark.splits[split] if video.subject}
        for split in ("train", "test")
    )
    return len(train & test), len(test)


def format_leak(leak: Leak) -> str:
    """Each row on the official lists and on the subject-disjoint ones, with the difference."""
    names = [benchmark.name for benchmark in leak.benchmarks]
    shared = [
        "{}: {} of {} subjects of test are in train too".format(name, *shared_subjects(benchmark))
        for name, benchmark in zip(names, leak.benchmarks, strict=True)
    ]
    unit = cluster_videos(leak.benchmarks[0])[1]
    parts = [
        f"Gain by the leak, {leak.aggregator}: test mAP on {names[0]} - on {names[1]}",
        "; ".join(shared),
        *(_measure_table(leak, measure) for measure in ("overall", "tail")),
        f"{CONFIDENCE:.0%} intervals: the test {unit} of each list were resampled by themselves, "
        f"{RESAMPLES:,} times, and moved as other seeds may move a row (Student's t). How the "
        "lists were drawn is not in the intervals, "
        "and they differ in more than the leak: other videos are in train and in test.",
    ]
    if leak.seeds == 1:
        parts.append("One seed: how far another would move a row is not in its interval.")
    if not leak.same_features:
        parts.append("The features of the two were made differently too.")
    return "\n\n".join(parts)


def _measure_table(leak: Leak, measure: str) -> str:
    column = leak.measures.index(measure)
    lines = []
    for row, label in enumerate(leak.labels):
        first, second = leak.full[:, row, column]
        if not np.isnan(first - second):
            sides = score_text(first), score_text(second), difference_text(first - second)
            ends = interval_text(leak.low[row, column], leak.high[row, column])
            lines.append([label, *sides, ends])
    by_chance = (chance(each.labels("test"), each.groups)[measure] for each in leak.benchmarks)
    first, second = (np.nan if value is None else value for value in by_chance)
    sides = score_text(first), score_text(second), difference_text(first - second)
    lines.append(["chance", *sides, ""])
    names = [benchmark.name for benchmark in leak.benchmarks]
    headers = [measure, *names, "difference", "interval"]
    return tabulate(lines, headers=headers, disable_numparse=True)
