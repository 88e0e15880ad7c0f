"""Assemble: a specification and the official files become a Benchmark, the one that it states."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from meid_bench.benchmark import videolt
from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import SPLITS, Benchmark
from meid_bench.benchmark.charades import read_annotations, read_classes
from meid_bench.benchmark.own_data import own_benchmark
from meid_bench.benchmark.separator import USUAL
from meid_bench.benchmark.spec import SPEC_FILE, Spec
from meid_bench.csvfile import read_lines
from meid_bench.errors import DataError, listing

Splits = Mapping[str, tuple[Annotation, ...]]


def assemble(spec: Spec, folder: Path, files: Mapping[str, Path]) -> Benchmark:
    """Read the annotations and split them as the specification says.

    Args:
        spec: The specification.
        folder: Where it was read; its lists lie there.
        files: Role to annotation file.

    Returns:
        The benchmark.

    Raises:
        DataError: A file is not what it should be, a listed video is not annotated, or the
            benchmark is not the one that the specification states.
    """
    if spec.format == "csv":
        path = _role(spec, files, "labels")  # of one form, so that nothing is to be guessed
        made = own_benchmark(path, spec.name, spec.frames, spec.bins, separator=USUAL)
        classes, splits = made.benchmark.classes, made.benchmark.splits
    elif spec.format == "videolt":
        classes = videolt.read_classes(_role(spec, files, "classes"))
        lists = {split: _role(spec, files, split) for split in SPLITS}
        splits = {split: videolt.read_list(lists[split], len(classes)) for split in SPLITS}
    else:
        if spec.lists is None:
            raise DataError(
                f"{folder / SPEC_FILE} names no lists; format {spec.format!r} needs them"
            )
        classes = read_classes(_role(spec, files, "classes"))
        ego = spec.format == "charadesego"
        pools = [
            read_annotations(_role(spec, files, role), len(classes), ego)
            for role in ("train", "test")
        ]
        splits = pick({split: folder / spec.lists[split] for split in SPLITS}, pools)
    benchmark = Benchmark(
        name=spec.name,
        title=spec.title,
        classes=classes,
        splits=splits,
        bins=spec.bins,
        frames=spec.frames,
        training_frames=spec.training_frames,
        expected=spec.expected,
        published=spec.published,
        citation=spec.citation,
        licence=spec.licence,
    )
    if spec.fingerprint not in (None, benchmark.fingerprint):
        raise DataError(
            f"The annotation files do not give {spec.name}: {_difference(benchmark, spec, folder)} "
            f"(fingerprint {benchmark.fingerprint[:8]}, {spec.fingerprint[:8]} was expected); take "
            "the official files"
        )
    return benchmark


def _role(spec: Spec, files: Mapping[str, Path], role: str) -> Path:
    if role not in files:
        raise DataError(
            f"{spec.name}: format {spec.format!r} needs the annotation file {role!r}; name it "
            "under 'members' of the spec.json"
        )
    return files[role]


def pick(lists: Mapping[str, Path], pools: Sequence[Sequence[Annotation]]) -> Splits:
    """The annotations of the ids in three list files, one id a line.

    Raises:
        DataError: An id is listed twice (names file and line), or videos are annotated in two
            files or not at all (says how many, and names the first few).
    """
    ids = _listed(lists)
    wanted = [name for names in ids.values() for name in names]
    times = Counter(video.id for video in chain(*pools))
    if twice := sorted(name for name, number in times.items() if number > 1):
        raise DataError(
            f"Both annotation files have {len(twice):,} of the videos, {listing(twice)}; take the "
            "official files"
        )
    if missing := sorted(name for name in wanted if name not in times):
        raise DataError(
            f"The annotation files lack {len(missing):,} of {len(wanted):,} listed videos, "
            f"{listing(missing)}; are they the files of this data set, and whole?"
        )
    annotated = {video.id: video for video in chain(*pools)}
    return {split: tuple(annotated[name] for name in names) for split, names in ids.items()}


def _listed(lists: Mapping[str, Path]) -> dict[str, list[str]]:
    """Split to the ids in its list file, in the file's order."""
    where: dict[str, str] = {}
    ids: dict[str, list[str]] = {split: [] for split in lists}
    for split, path in lists.items():
        for line, name in read_lines(path):
            here = f"{path}, line {line}"
            if name in where:
                raise DataError(f"{here}: {name!r} stands in {where[name]} already; list it once")
            where[name] = here
            ids[split].append(name)
    return ids


def _difference(benchmark: Benchmark, spec: Spec, folder: Path) -> str:
    """What the fingerprint, which alone decides, cannot say: which videos differ."""
    total = len(benchmark.all_ids())
    if spec.checks is None:
        return f"some of its {total:,} videos, or their labels, differ"
    lines = (line.rpartition(" ") for _, line in read_lines(folder / spec.checks))
    expected = {name: byte for name, _, byte in lines}
    built = checks(benchmark)
    differing = sorted(name for name in built if built[name] != expected.get(name))
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
