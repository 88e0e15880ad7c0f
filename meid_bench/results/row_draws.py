"""Row draws: the resampled mAP of a board's rows, and the joint intervals of their sections."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meid_bench.errors import DataError
from meid_bench.progress import Progress
from meid_bench.results.board import Board, Section
from meid_bench.results.bootstrap import Resampled, dropped_classes
from meid_bench.results.joint_intervals import ConfidenceInterval, Joint
from meid_bench.results.kept_draws import KeptDraws
from meid_bench.results.metrics import MEASURES
from meid_bench.results.rows import Row

RESAMPLES, RESAMPLES_A_ROW = 2_000, 200


class RowDraws:
    """Draws of every row of some sections: those that are kept are read, others made and kept.

    Args:
        board: Whose rows.
        sections: Some of the board's.
        needed: Rows that must have them.

    Attributes:
        resamples: How many.
        clusters: How many clusters of test videos were resampled.
        unit: What a cluster is.
        notes: Sentences on rows that have none, and on what was drawn again.

    Raises:
        DataError: A needed row's scores are missing, damaged, or of other videos.
    """

    def __init__(self, board: Board, sections: Sequence[Section], needed: Sequence[Row] = ()):
        self._benchmark, self._sections = board.benchmark, sections
        self._kept = KeptDraws(board.benchmark, resamples_for(len(board.rows)))
        self.resamples, self.clusters = self._kept.weights.shape
        self.unit = self._kept.unit
        self._runs: dict[str, NDArray[np.float64]] = {}
        self._means: dict[str, NDArray[np.float64]] = {}
        self._joints: dict[tuple[str, ...], Joint] = {}
        self.notes: list[str] = []
        rows = [row for section in sections for row in section.rows]
        waiting = [run for row in rows for run in row.runs if not self._kept.ready(run)]
        with Progress(len(waiting), "resample", "runs") if waiting else nullcontext() as progress:
            for row in rows:
                try:
                    self._draw(row, waiting, progress)
                except DataError as error:
                    if any(row is one for one in needed):
                        raise
                    self.notes.append(f"{row.name} is not compared: {error}")
        self.notes += self._kept.notes()

    def _draw(self, row: Row, waiting: Sequence[Path], progress: Progress | None) -> None:
        of_runs = []
        for run in row.runs:
            of_runs.append(self._kept.of_run(run))
            if progress is not None and run in waiting:
                progress.update()
        self._runs[_key(row)] = np.stack([full for full, _ in of_runs])
        self._means[_key(row)] = np.mean([means for _, means in of_runs], axis=0)

    def has(self, row: Row) -> bool:
        """Whether a row could be drawn."""
        return _key(row) in self._runs

    def overall(self, row: Row) -> float:
        """A row's overall mAP on the full list, mean over seeds, as its scores give it."""
        return float(self._runs[_key(row)][:, 0].mean())

    def intervals(self, first: Row, second: Row) -> dict[str, ConfidenceInterval]:
        """Of first - second in every measure; empty where nothing can be resampled.

        They hold together with those of all pairs of rows of the sections that the two are in.
        """
        own = [s for s in self._sections if any(row is first or row is second for row in s.rows)]
        names = tuple(_key(row) for section in own for row in section.rows if self.has(row))
        found = {}
        for measure in MEASURES:
            interval = self._joint(names, measure).interval(_key(first), _key(second))
            if interval is not None:
                found[measure] = interval
        return found

    def dropped(self) -> dict[str, float]:
        """Measure to the mean number of classes that a resample left without positives."""
        labels, groups = self._benchmark.labels("test"), self._benchmark.groups
        return dropped_classes(labels, self._kept.clusters, groups, self._kept.weights)

    def _joint(self, names: tuple[str, ...], measure: str) -> Joint:
        if (*names, measure) not in self._joints:
            resampled = Resampled(
                measures=("overall", *self._benchmark.groups),
                runs={name: self._runs[name] for name in names},
                means={name: self._means[name] for name in names},
                clusters=self.clusters,
            )
            self._joints[*names, measure] = Joint(resampled, measure)
        return self._joints[*names, measure]


def resamples_for(rows: int) -> int:
    """How many resamples a board of so many rows has: the most extreme of more takes more."""
    return max(RESAMPLES, RESAMPLES_A_ROW * rows)


def _key(row: Row) -> str:
    """What a row is called in the draws: its runs, whatever else is on the board."""
    return "\n".join(sorted(run.name for run in row.runs))
