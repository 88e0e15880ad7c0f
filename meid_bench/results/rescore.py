"""Rescore: recompute records from their saved scores, and name those that differ."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import DataError
from meid_bench.results.metrics import EVALUATOR, NUMBERS, Metrics, evaluate_scores
from meid_bench.results.record import Record
from meid_bench.results.score_file import load_test_scores

# Sums in another order on another machine; an edited digit is far above it.
TOLERANCE = 1e-9


def rescore(
    records: Mapping[Path, Record], benchmark: Benchmark
) -> tuple[dict[Path, Record], list[str]]:
    """Every record with test metrics recomputed from the scores beside it.

    Args:
        records: Run folder to record; those of other benchmarks pass through as they are.
        benchmark: Whose labels.

    Returns:
        The records, and one sentence for each that differs from its scores (its recomputed
        metrics are returned) or cannot be recomputed (it is left out).
    """
    kept: dict[Path, Record] = {}
    problems = []
    for folder, record in records.items():
        if record.benchmark_fingerprint != benchmark.fingerprint:
            kept[folder] = record
            continue
        try:
            test = rescored(folder, benchmark)
        except (DataError, ValueError) as error:
            problems.append(f"{folder} cannot be rescored: {error}")
            continue
        difference = _difference(record.test, test)
        if difference:
            problems.append(f"{folder}: {difference}; the board shows what its scores give")
        kept[folder] = replace(record, test=test, evaluator=EVALUATOR)
    return kept, problems


def rescored(folder: Path, benchmark: Benchmark) -> Metrics:
    """Test metrics of the scores saved in a run's folder.

    Raises:
        DataError: They are missing, damaged, or of other videos.
        ValueError: They are no probabilities.
    """
    views = [video.view for video in benchmark.splits["test"]]
    return evaluate_scores(
        load_test_scores(folder, benchmark), benchmark.labels("test"), benchmark.groups, views
    )


def _difference(recorded: Metrics, computed: Metrics) -> str | None:
    """The first number in which they differ, in words."""
    before, after = _named(recorded), _named(computed)
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if (old is None) != (new is None) or abs((old or 0) - (new or 0)) > TOLERANCE:
            return f"its record says {name} {old}, its scores give {new}"
    return None


def _named(metrics: Metrics) -> dict[str, float | None]:
    numbers = {name: getattr(metrics, name) for name in NUMBERS}
    numbers |= {f"AP of class {c}": value for c, value in enumerate(metrics.per_class_ap)}
    for view, values in metrics.views.items():
        numbers |= {f"{view} {name}": value for name, value in values.items()}
    return numbers
