"""Compare rows of a board: is the difference real, and who cannot be told from the best?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark import Benchmark
from meid_bench.board.bootstrap import CONFIDENCE, Interval, Resampled, holm, intervals, resample
from meid_bench.board.score_file import load_test_scores
from meid_bench.errors import DataError, SettingError, unknown
from meid_bench.leaderboard import Board, Row, Section

RESAMPLES = 10_000
# The board's own marks: p-values to 0.002 are enough to compare with Holm's levels.
MARKING_RESAMPLES = 1_000
# Beyond so many products of the bootstrap the board does not mark by itself; --compare does.
MARKING_COST = 2e11
FEW_CLUSTERS = 20
TIED = "cannot be told from the best"


@dataclass(frozen=True)
class Comparison:
    """Differences of rows, with intervals from one bootstrap.

    Attributes:
        names: The rows, as they were asked for.
        differences: (first, second) to measure to interval of first - second.
        best: The row with the highest overall mAP.
        adjusted: Every other row to Holm's p-value of "overall as good as the best".
        resamples: How many.
        clusters: How many clusters were resampled.
        unit: "subjects", or "videos" where no subjects are known.
        dropped: Measure to the mean number of classes that a resample left without positives.
        notes: What the intervals do not say, sentences.
    """

    names: tuple[str, ...]
    differences: Mapping[tuple[str, str], Mapping[str, Interval]]
    best: str
    adjusted: Mapping[str, float]
    resamples: int
    clusters: int
    unit: str
    dropped: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def tied(self) -> tuple[str, ...]:
        """Rows that cannot be told from the best at 5 %."""
        return tuple(name for name, p in self.adjusted.items() if p >= 1 - CONFIDENCE)


def compare(
    board: Board, names: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compare rows of a board, each with the first named, by a paired bootstrap over subjects.

    Args:
        board: Whose rows.
        names: Two or more rows: a method, with what else tells it apart after slashes, for
            example "cbs" or "cbs/netvlad/equal".
        resamples: How many resamples of the test split's subjects.
        seed: Of the resampling.

    Raises:
        SettingError: A name fits no row, or several; fewer than two rows.
        DataError: A row's scores are missing, damaged, or of other videos.
    """
    if len(set(names)) < 2:
        raise SettingError(f"--compare {','.join(names)} names fewer than two rows; expected a,b")
    rows = {name: find_row(board, name) for name in names}
    if len({id(row) for row in rows.values()}) < len(rows):
        raise SettingError(f"--compare {','.join(names)} names one row twice; expected two rows")
    return compare_rows(board.benchmark, rows, resamples, seed)


def compare_rows(
    benchmark: Benchmark, rows: Mapping[str, Row], resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """As `compare`, of rows that are already found."""
    scores = {
        name: [load_test_scores(run, benchmark) for run in row.runs] for name, row in rows.items()
    }
    clusters, unit = cluster_videos(benchmark)
    resampled = resample(
        scores, benchmark.labels("test"), clusters, benchmark.groups, resamples, seed
    )
    first, *others = rows
    best = max(rows, key=lambda name: float(resampled.full[name][0]))
    return Comparison(
        names=tuple(rows),
        differences={(first, other): intervals(resampled, first, other) for other in others},
        best=best,
        adjusted=against_best(resampled, best),
        resamples=resamples,
        clusters=int(clusters.max()) + 1,
        unit=unit,
        dropped=resampled.dropped,
        notes=_notes(benchmark, rows, int(clusters.max()) + 1, unit),
    )


def against_best(resampled: Resampled, best: str) -> dict[str, float]:
    """Holm's p-value, for every other method, of "overall as good as the best"."""
    return holm(
        {
            name: intervals(resampled, best, name)["overall"].p
            for name in resampled.full
            if name != best
        }
    )


def mark_ties(board: Board) -> tuple[Board, list[str]]:
    """The board with a mark on every row that cannot be told from the best of its section.

    Returns:
        The board, and one sentence for each section that could not be tested.
    """
    sections, problems = [], []
    for section in board.sections:
        try:
            sections.append(_mark(board.benchmark, section))
        except DataError as error:
            problems.append(f"Ties with the best are not marked ({section.title}): {error}")
            sections.append(section)
    return replace(board, sections=tuple(sections)), problems


def _mark(benchmark: Benchmark, section: Section) -> Section:
    rows = {str(position): row for position, row in enumerate(section.rows)}
    if len(rows) < 2:
        return section
    runs = sum(len(row.runs) for row in section.rows)
    positives = int(benchmark.labels("test").sum())
    cost = 2.0 * MARKING_RESAMPLES * runs * positives * (cluster_videos(benchmark)[0].max() + 1)
    if cost > MARKING_COST:
        raise DataError(f"{runs} runs are too many to test on the side; use --compare")
    tied = compare_rows(benchmark, rows, MARKING_RESAMPLES).tied
    marked = (
        replace(row, marks=(*row.marks, TIED)) if name in tied else row
        for name, row in rows.items()
    )
    return replace(section, rows=tuple(marked))


def find_row(board: Board, name: str) -> Row:
    """The row that a name means: every part between slashes must be said of it.

    Raises:
        SettingError: No row fits, or several; these are listed with names that tell them apart.
    """
    parts = [part.strip() for part in name.split("/") if part.strip()]
    fitting = [row for row in board.rows if parts and set(parts) <= set(_tags(row))]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise unknown("row of the board", name, {row.name for row in board.rows})
    raise SettingError(
        f"{name!r} fits {len(fitting)} rows; choose one: "
        + ", ".join(full_name(row) for row in fitting)
    )


def full_name(row: Row) -> str:
    """Everything that tells a row apart, in the form that `find_row` takes."""
    return "/".join(_tags(row))


def _tags(row: Row) -> list[str]:
    record = row.first
    shown = [row.name, record.aggregator, record.preset, record.protocol]
    tags = [part for item in shown if item for part in item.split("/")]
    if record.features:
        tags.append(record.features.fingerprint[:8])
    if record.source == "submission":
        tags.append("submission")
    return tags


def cluster_videos(benchmark: Benchmark) -> tuple[NDArray[np.int64], str]:
    """Which videos of the test split are resampled together, (N,) from 0, and what they share.

    One actor plays in many videos, and these are alike. A video without a subject stands alone.
    """
    videos = benchmark.splits["test"]
    keys = [(video.subject or "", "" if video.subject else video.id) for video in videos]
    number = {key: position for position, key in enumerate(sorted(set(keys)))}
    unit = "subjects" if any(video.subject for video in videos) else "videos"
    return np.array([number[key] for key in keys]), unit


def _notes(
    benchmark: Benchmark, rows: Mapping[str, Row], clusters: int, unit: str
) -> tuple[str, ...]:
    notes = []
    single = [name for name, row in rows.items() if len(row.runs) == 1]
    if single:
        notes.append(
            f"{', '.join(single)}: one seed. The interval is over test {unit} only; how far "
            "another seed would move the number, one seed cannot tell."
        )
    if unit == "videos":
        notes.append(
            f"{benchmark.name} knows no subjects: videos were resampled, as if each were "
            "independent of the others. Where they are not, the intervals are too narrow."
        )
    if clusters < FEW_CLUSTERS:
        notes.append(f"Only {clusters} {unit}: intervals from so few are too narrow.")
    first = next(iter(rows.values())).first
    for label, pick in (("features", _features), ("protocol", _protocol)):
        if any(pick(row) != pick(next(iter(rows.values()))) for row in rows.values()):
            notes.append(f"The rows differ in {label} too, not in the method alone.")
    if any(row.first.version != first.version for row in rows.values()):
        notes.append("The rows were made by different versions of meid-bench.")
    return tuple(notes)


def _features(row: Row) -> str | None:
    return row.features_fingerprint


def _protocol(row: Row) -> str | None:
    return row.first.protocol
