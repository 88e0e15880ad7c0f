"""Identity: whether a benchmark is the one that its spec.json states, and where it is not."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import SPLITS, Benchmark
from meid_bench.benchmark.spec import Spec
from meid_bench.csvfile import read_lines
from meid_bench.errors import DataError, listing


def confirm(benchmark: Benchmark, spec: Spec, folder: Path) -> None:
    """Refuse a benchmark with another fingerprint than its specification states.

    The fingerprint alone decides. It cannot say which videos differ; where the specification has
    check bytes, these can.

    Args:
        benchmark: What the annotation files gave.
        spec: The specification.
        folder: Where the specification lies.

    Raises:
        DataError: It is another benchmark; the sentence says how many videos differ, and names
            the first few.
    """
    if spec.fingerprint in (None, benchmark.fingerprint):
        return
    raise DataError(
        f"The annotation files do not give {spec.name}: {_difference(benchmark, spec, folder)} "
        f"(fingerprint {benchmark.fingerprint[:8]}, {spec.fingerprint[:8]} was expected); take "
        "the official files"
    )


def _difference(benchmark: Benchmark, spec: Spec, folder: Path) -> str:
    total = len(benchmark.all_ids())
    if spec.checks is None:
        return f"some of its {total:,} videos, or their labels, differ"
    expected = read_checks(folder / spec.checks)
    found = checks(benchmark)
    differing = sorted(name for name in found if found[name] != expected.get(name))
    if not differing:  # one changed video in 256 has the same byte
        return f"the labels of at least one of its {total:,} videos differ"
    return f"the labels of {len(differing):,} of {total:,} videos differ, {listing(differing)}"


def checks(benchmark: Benchmark) -> dict[str, str]:
    """Id to check byte of every listed video, in the order of the lists."""
    return {v.id: check_byte(v) for split in SPLITS for v in benchmark.splits[split]}


def check_byte(video: Annotation) -> str:
    """Two hexadecimal digits that tell, 255 times of 256, that a video's labels have changed.

    The first byte of the SHA-256 of `id TAB c1,c2`. One byte says nothing of what the labels
    are, which may not be passed on: of all sets of three of 157 classes, some 2,500 have the same.
    """
    text = f"{video.id}\t{','.join(map(str, video.labels))}"
    return hashlib.sha256(text.encode()).hexdigest()[:2]


def read_checks(path: Path) -> Mapping[str, str]:
    """Read a file of check bytes, lines `id XX`.

    Raises:
        DataError: It cannot be read.
    """
    return {name: byte for _, line in read_lines(path) for name, _, byte in [line.partition(" ")]}
