"""Submission: scores made elsewhere, checked, scored and put on the board."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meid_bench import __version__
from meid_bench.benchmark.benchmark import load_benchmark
from meid_bench.codec import check_recordable
from meid_bench.errors import DataError, SettingError
from meid_bench.files import home, runs_dir
from meid_bench.results.metrics import EVALUATOR, evaluate_scores
from meid_bench.results.record import (
    RECORD,
    SCHEMA,
    SCORES,
    Record,
    Submission,
    load_record,
    load_scores,
    save_record,
    save_scores,
)
from meid_bench.results.score_file import arrange, probabilities, read_scores


def evaluate(
    file: str | Path,
    dataset: str,
    name: str,
    logits: bool = False,
    root: Path | None = None,
) -> Record:
    """Score a file of test scores, and put it on the board as a submission.

    Args:
        file: .npz, .csv or .txt, as `score_file.read_scores` says.
        dataset: A built benchmark.
        name: What the board calls it.
        logits: The file holds logits; their sigmoid is scored.
        root: The data root; $MEID_BENCH_HOME or ./data where it is left out.

    Returns:
        The record that was written.

    Raises:
        MeidBenchError: The file or a score in it is not as it should be, the benchmark has not
            been built, or other scores have that name already.
    """
    if not name.strip():
        raise SettingError("--name is empty; expected what the board should call the submission")
    check_recordable(name, "--name")
    root = home() if root is None else root
    benchmark = load_benchmark(dataset, root)
    path = Path(file)
    ids, values = read_scores(path, benchmark.classes)
    wanted = benchmark.ids("test")
    values = arrange(path, ids, values, wanted, benchmark.name)
    scores = probabilities(path, wanted, values, logits)
    folder = submission_dir(root, benchmark.name, name)
    if (folder / RECORD).is_file():
        return _already_there(folder, name, scores)
    views = [video.view for video in benchmark.splits["test"]]
    try:
        test = evaluate_scores(scores, benchmark.labels("test"), benchmark.groups, views)
    except ValueError as error:
        raise DataError(f"{path} cannot be scored: {error}") from error
    submission = Submission(
        schema=SCHEMA,
        benchmark=benchmark.name,
        title=benchmark.title,
        benchmark_fingerprint=benchmark.fingerprint,
        method=name.strip(),
        test=test,
        evaluator=EVALUATOR,
        warnings=_warnings(values, scores),
        version=__version__,
        commit=None,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    save_scores(folder, wanted, scores)
    save_record(submission, folder)
    return submission


def submission_dir(root: Path, dataset: str, name: str) -> Path:
    """Where a submission of that name goes."""
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", name.strip()).strip("-.") or "unnamed"
    return runs_dir(root, dataset) / f"submission-{slug}"


def _already_there(folder: Path, name: str, scores: NDArray[np.float32]) -> Record:
    record = load_record(folder)
    if record.method == name.strip() and np.array_equal(load_scores(folder / SCORES)[1], scores):
        return record
    raise SettingError(
        f"Other scores are on the board as {record.method!r} ({folder}); choose another --name, "
        "or remove that folder"
    )


def _warnings(values: NDArray[Any], scores: NDArray[np.float32]) -> tuple[str, ...]:
    """A rounding that makes equal what was not moves AP: say so."""
    tied = sum(
        len(np.unique(values[:, c])) - len(np.unique(scores[:, c])) for c in range(scores.shape[1])
    )
    if tied <= 0:
        return ()
    return (f"{tied} scores that differ in the file are equal as float32 probabilities: ties.",)
