"""Assemble: a specification and the official files become a Benchmark."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from meid_bench import videolt
from meid_bench.annotation import Annotation
from meid_bench.benchmark import SPLITS, Benchmark
from meid_bench.building.labelcsv import own_benchmark
from meid_bench.building.spec import Spec
from meid_bench.building.targets import Targets
from meid_bench.charades import read_annotations, read_classes
from meid_bench.csvfile import read_lines
from meid_bench.errors import DataError
from meid_bench.split import make_split

Splits = Mapping[str, tuple[Annotation, ...]]


def assemble(spec: Spec, folder: Path, files: Mapping[str, Path]) -> tuple[Benchmark, list[str]]:
    """Read the annotations and split them as the specification says.

    Args:
        spec: The specification.
        folder: Where it was read; its lists lie there.
        files: Role to annotation file.

    Returns:
        The benchmark, and a sentence for each target that its recipe missed.

    Raises:
        DataError: A file is not what it should be, or a listed video is not annotated.
    """
    missed: list[str] = []
    if spec.format == "csv":
        own = own_benchmark(_role(spec, files, "labels"), spec.name, spec.frames, spec.bins)
        classes, splits = own.classes, own.splits
    elif spec.format == "videolt":
        classes = videolt.read_classes(_role(spec, files, "classes"))
        paths = {split: _role(spec, files, split) for split in SPLITS}
        splits = videolt.read_lists(paths, len(classes))
    else:
        classes, splits, missed = _charades(spec, folder, files)
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
    return benchmark, missed


def _charades(
    spec: Spec, folder: Path, files: Mapping[str, Path]
) -> tuple[tuple[str, ...], Splits, list[str]]:
    classes = read_classes(_role(spec, files, "classes"))
    train, test = (
        read_annotations(_role(spec, files, role), len(classes)) for role in ("train", "test")
    )
    if spec.lists is not None:
        paths = {split: folder / spec.lists[split] for split in SPLITS}
        return classes, pick(paths, (train, test)), []
    if spec.recipe is None:
        raise DataError(f"{folder}: the specification has neither lists nor a recipe; add one")
    result = make_split(train, test, len(classes), Targets.from_dict(spec.recipe))
    annotated = {video.id: video for video in chain(train, test)}
    splits = {split: tuple(annotated[name] for name in getattr(result, split)) for split in SPLITS}
    return classes, splits, list(result.missed)


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
        DataError: An id is listed twice, or is not annotated; names file and line.
    """
    annotated: dict[str, Annotation] = {}
    for video in chain(*pools):
        if video.id in annotated:
            raise DataError(f"Video {video.id!r} is in two of the annotation files; mend one")
        annotated[video.id] = video
    where: dict[str, str] = {}
    splits = {}
    for split, path in lists.items():
        videos = []
        for line, name in read_lines(path):
            here = f"{path}, line {line}"
            if name in where:
                raise DataError(f"{here}: {name!r} stands in {where[name]} already; list it once")
            if name not in annotated:
                raise DataError(
                    f"{here}: video {name!r} is not in the annotation files; is it the right list?"
                )
            where[name] = here
            videos.append(annotated[name])
        splits[split] = tuple(videos)
    return splits
