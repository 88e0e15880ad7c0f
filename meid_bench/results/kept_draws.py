"""Kept draws: each run's resampled mAP, drawn once and kept beside its record."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import DataError
from meid_bench.files import atomic
from meid_bench.results.bootstrap import draw_weights, measures_of, resampled_means
from meid_bench.results.record import SCORES
from meid_bench.results.score_file import load_test_scores

RESAMPLES_FILE = "resamples.npz"
FORMAT = 1
# Videos without subjects are resampled in so many groups at most: of independent videos these are
# independent too, and the cost no longer grows with the square of the list.
MOST_CLUSTERS = 1_000


class KeptDraws:
    """Resampled mAP of any run on one benchmark's test list.

    All runs see the same resamples, and a longer series begins with the shorter one: what was kept
    goes on. What was kept of other scores, labels or subjects is stale: it is drawn again.

    Args:
        benchmark: Whose test list.
        resamples: R.

    Attributes:
        clusters: The cluster of each test video, (N,).
        unit: What a cluster is: "subjects", "videos", or "groups of videos".
        weights: How often each resample draws each cluster, (R, G).
        stale: Run folders of which what was kept was of something else.
        unkept: Run folders into which nothing could be written.
    """

    def __init__(self, benchmark: Benchmark, resamples: int) -> None:
        self.benchmark = benchmark
        self.clusters, self.unit = cluster_videos(benchmark)
        self.weights = draw_weights(int(self.clusters.max()) + 1, resamples)
        self.stale: list[Path] = []
        self.unkept: list[Path] = []
        parts = [FORMAT, benchmark.fingerprint, self.clusters.tolist()]
        parts += [[name, index.tolist()] for name, index in benchmark.groups.items()]
        self._list = hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def ready(self, folder: Path) -> bool:
        """Whether nothing is left to be drawn of a run."""
        return len(self._kept(folder)[1]) >= len(self.weights)

    def of_run(self, folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A run's measures on the full list, (M,), and under each resample, (R, M).

        Raises:
            DataError: Its scores are missing, damaged, or of other videos.
        """
        full, means = self._kept(folder)
        if len(means) < len(self.weights):
            scores = load_test_scores(folder, self.benchmark)
            labels, groups = self.benchmark.labels("test"), self.benchmark.groups
            try:
                full = measures_of(scores, labels, groups)
            except ValueError as error:
                raise DataError(f"{folder / SCORES} cannot be scored: {error}") from error
            missing = self.weights[len(means) :]
            new = resampled_means(scores, labels, self.clusters, groups, missing)
            means = np.concatenate([means, new])
            self._keep(folder, full, means)
        return full, means[: len(self.weights)]

    def notes(self) -> list[str]:
        """What a reader may want to know of what was kept, sentences."""
        notes = {
            "were stale, of other scores or labels, and drawn anew": self.stale,
            "could not be kept, and are drawn each time": self.unkept,
        }
        return [
            f"Resamples {note}: {', '.join(folder.name for folder in folders)}"
            for note, folders in notes.items()
            if folders
        ]

    def _kept(self, folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        nothing = np.zeros(0), np.zeros((0, 1 + len(self.benchmark.groups)))
        if not (folder / RESAMPLES_FILE).is_file():
            return nothing
        try:
            with np.load(folder / RESAMPLES_FILE, allow_pickle=False) as arrays:
                stamp, full, means = str(arrays["stamp"]), arrays["full"], arrays["means"]
                if arrays.zip.testzip() is not None:  # numpy reads as far as a header says
                    stamp = ""
        except Exception:  # whatever zip, zlib and numpy raise about a damaged file
            stamp = ""
        if stamp == self._stamp(folder):
            return full, means
        if folder not in self.stale:
            self.stale.append(folder)
        return nothing

    def _keep(self, folder: Path, full: NDArray[np.float64], means: NDArray[np.float64]) -> None:
        try:
            with atomic(folder / RESAMPLES_FILE) as temporary, temporary.open("wb") as file:
                np.savez(file, stamp=np.array(self._stamp(folder)), full=full, means=means)
        except OSError:
            self.unkept.append(folder)

    def _stamp(self, folder: Path) -> str:
        """What the draws are of: the list, and the scores by the sums that their zip keeps."""
        try:
            with zipfile.ZipFile(folder / SCORES) as archive:
                sums = [[item.filename, item.CRC, item.file_size] for item in archive.infolist()]
        except (OSError, zipfile.BadZipFile):
            sums = []
        return hashlib.sha256(json.dumps([self._list, sums]).encode()).hexdigest()


def cluster_videos(benchmark: Benchmark) -> tuple[NDArray[np.int64], str]:
    """Which videos of the test list are resampled together, (N,) from 0, and what they share.

    One actor plays in many videos, and these are alike; a video without a subject stands alone.
    Where no subject is known, each video is a cluster, or falls into one of `MOST_CLUSTERS` groups
    by the hash of its id.
    """
    videos = benchmark.splits["test"]
    if any(video.subject for video in videos):
        unit = "subjects"
        keys = [(video.subject or "", "" if video.subject else video.id) for video in videos]
    elif len(videos) <= MOST_CLUSTERS:
        unit, keys = "videos", [("", video.id) for video in videos]
    else:
        unit = "groups of videos"
        digests = (hashlib.sha256(video.id.encode()).digest() for video in videos)
        keys = [(str(int.from_bytes(d[:8], "big") % MOST_CLUSTERS), "") for d in digests]
    number = {key: position for position, key in enumerate(sorted(set(keys)))}
    return np.array([number[key] for key in keys]), unit
