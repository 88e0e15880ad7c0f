"""Benchmark: classes, videos and bins of one data set, frozen, with a fingerprint of its labels."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.longtail import Bins, Statistics, class_counts, multi_hot, statistics
from meid_bench.codec import decode, encode, read_json
from meid_bench.errors import DataError, unknown
from meid_bench.files import benchmark_dir, home, packaged_splits, write_text

SPLITS = ("train", "val", "test")
BENCHMARK_FILE = "benchmark.json"


@dataclass(frozen=True)
class Benchmark:
    """One long-tailed benchmark; data, not code: data sets differ in files only.

    Attributes:
        name: Folder name, for example "charadeslt".
        title: Heading of its board, for example "CharadesLT, subject-disjoint".
        classes: Class names; the position is the class index.
        splits: "train", "val" and "test" to their annotations, in the order of the lists.
        bins: Bounds of head, medium and tail by training count.
        frames: T, the frames per video that the benchmark's features have.
        training_frames: Frames drawn of a video in each training step, or None for all.
        expected: The paper's Table 1 row, or None where no paper printed one.
        published: Name of the data set in the packaged published results, or None.
        citation: How to cite it.
        licence: Under which licence its data stand.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Annotation, ...]]
    bins: Bins
    frames: int
    training_frames: int | None = None
    expected: Statistics | None = None
    published: str | None = None
    citation: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        """Refuse a benchmark in which an id is twice or a label has no class."""
        seen: dict[str, str] = {}
        for split in SPLITS:
            for video in self.splits[split]:
                if video.id in seen:
                    raise DataError(
                        f"{self.name}: video {video.id!r} is in {seen[video.id]} and in {split}; "
                        "every id may stand once, in one split"
                    )
                seen[video.id] = split
                if any(not 0 <= label < len(self.classes) for label in video.labels):
                    raise DataError(
                        f"{self.name}: video {video.id!r} has labels {video.labels}; "
                        f"there are {len(self.classes)} classes"
                    )

    def ids(self, split: str) -> tuple[str, ...]:
        """Video ids of a split, in the order of its list."""
        return tuple(video.id for video in self.splits[split])

    def all_ids(self) -> tuple[str, ...]:
        """Every listed video id, sorted."""
        return tuple(sorted(video.id for split in SPLITS for video in self.splits[split]))

    def labels(self, split: str) -> NDArray[np.uint8]:
        """Multi-hot labels of a split, (N, C) uint8 of 0 and 1, in the order of `ids`."""
        return multi_hot([video.labels for video in self.splits[split]], len(self.classes))

    def counts_in(self, split: str) -> NDArray[np.int64]:
        """Videos per class of a split, (C,) int64."""
        return class_counts((video.labels for video in self.splits[split]), len(self.classes))

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Training videos per class, (C,) int64."""
        return self.counts_in("train")

    @cached_property
    def groups(self) -> dict[str, NDArray[np.int64]]:
        """Class indices of head, medium and tail."""
        return self.bins.groups(self.counts)

    def statistics(self) -> Statistics:
        """This benchmark's Table 1 row."""
        labels = {split: [video.labels for video in self.splits[split]] for split in SPLITS}
        return statistics(labels, len(self.classes), self.bins)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the sorted lines `split TAB id TAB c1,c2 LF`, hexadecimal."""
        lines = sorted(
            f"{split}\t{video.id}\t{','.join(map(str, video.labels))}\n"
            for split in SPLITS
            for video in self.splits[split]
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def save_benchmark(benchmark: Benchmark, folder: Path) -> None:
    """Write `folder`/benchmark.json, whole or not at all."""
    data = encode(benchmark) | {"fingerprint": benchmark.fingerprint}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    write_text(folder / BENCHMARK_FILE, text)


def load_benchmark(name: str, root: Path | None = None) -> Benchmark:
    """Load a benchmark that `meid-bench build` made.

    Args:
        name: Its name, for example "charadeslt".
        root: The data root; $MEID_BENCH_HOME or ./data where it is left out.

    Raises:
        MeidBenchError: It has not been built, or its file is damaged.
    """
    root = home() if root is None else root
    path = benchmark_dir(root, name) / BENCHMARK_FILE
    if not path.is_file():
        built = [found.parent.name for found in benchmark_dir(root, "").glob(f"*/{BENCHMARK_FILE}")]
        if not built or (packaged_splits() / name).is_dir():
            raise DataError(
                f"Benchmark {name!r} has not been built under {root}; run `meid-bench build {name}`"
            )
        raise unknown("built benchmark", name, built)
    try:
        data = read_json(path)
        fingerprint = data.pop("fingerprint")
        benchmark = decode(Benchmark, data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}); build {name} again") from error
    if benchmark.fingerprint != fingerprint:
        raise DataError(
            f"{path} was changed by hand: its labels have the fingerprint "
            f"{benchmark.fingerprint[:8]}, recorded is {fingerprint[:8]}; build {name} again"
        )
    return benchmark
