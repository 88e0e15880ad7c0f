"""One's own data: a labels.csv and a folder of videos become a benchmark like any other."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from meid_bench.benchmark.annotation import Annotation, id_fault
from meid_bench.benchmark.benchmark import SPLITS, Benchmark
from meid_bench.benchmark.longtail import Bins, class_counts
from meid_bench.benchmark.stratify import stratify
from meid_bench.benchmark.video_folder import SUFFIXES
from meid_bench.csvfile import read_rows
from meid_bench.errors import DataError

COLUMNS = ("video", "labels")
FRACTIONS = (Fraction(7, 10), Fraction(1, 10), Fraction(2, 10))


@dataclass(frozen=True)
class LabelCsv:
    """What a labels.csv says.

    Attributes:
        classes: Every label in it, sorted; the position is the class index.
        videos: One annotation a row, in the file's order.
        splits: The row's split, in the same order; None where the file has no such column.
    """

    classes: tuple[str, ...]
    videos: tuple[Annotation, ...]
    splits: tuple[str, ...] | None


def read_labels(path: Path) -> LabelCsv:
    """Read a csv with the columns video, labels (separated by ;) and optionally split.

    A video is the name of its file, with or without a suffix such as .mp4. Space around a
    label is dropped, space inside it is part of its name; repeated labels count once.

    Args:
        path: The file, UTF-8, with or without a byte-order mark; other columns are ignored.

    Raises:
        DataError: A column is missing, a row has no label, an id is twice, a split has another
            name than train, val or test; the message names file and line.
    """
    names: dict[str, tuple[str, ...]] = {}
    splits: list[str] = []
    has_splits = False
    for line, row in read_rows(path, COLUMNS):
        where = f"{path}, line {line}"
        name, _, suffix = row["video"].strip().rpartition(".")
        video = name if f".{suffix.lower()}" in SUFFIXES else row["video"].strip()
        if fault := id_fault(video):
            raise DataError(
                f"{where}: {fault}; put the videos into one folder, and name the file of one"
            )
        if video in names:
            raise DataError(f"{where}: video {video!r} is there twice; give it one row")
        names[video] = tuple(filter(None, map(str.strip, row["labels"].split(";"))))
        if not names[video]:
            raise DataError(f"{where}: video {video!r} has no label; give it one or drop the row")
        has_splits = "split" in row
        if has_splits:
            splits.append(row["split"].strip())
            if splits[-1] not in SPLITS:
                raise DataError(
                    f"{where}: split {splits[-1]!r} where {', '.join(SPLITS)} was expected; "
                    "correct it, or leave the column out and have the videos divided"
                )
    if not names:
        raise DataError(f"{path} has no row under its header; give each video one")
    classes = tuple(sorted({label for labels in names.values() for label in labels}))
    index = {label: number for number, label in enumerate(classes)}
    videos = tuple(
        Annotation(id=video, labels=tuple(sorted({index[label] for label in labels})))
        for video, labels in names.items()
    )
    return LabelCsv(classes, videos, tuple(splits) if has_splits else None)


def own_benchmark(
    path: Path,
    name: str,
    frames: int,
    bins: Bins | None = None,
    fractions: Sequence[Fraction] = FRACTIONS,
) -> Benchmark:
    """Make a benchmark of a labels.csv.

    Args:
        path: The csv, as `read_labels` takes it.
        name: The benchmark's name.
        frames: T, frames per video.
        bins: Bounds of head, medium and tail; None for thirds of the classes.
        fractions: Of train, val and test where the csv names no splits.

    Raises:
        DataError: As `read_labels`; or a split is empty, or a label is never in train.
    """
    table = read_labels(path)
    if table.splits is None:
        splits = stratify(table.videos, len(table.classes), fractions)
    else:
        rows = list(zip(table.videos, table.splits, strict=True))
        splits = {split: [video for video, at in rows if at == split] for split in SPLITS}
    counts = class_counts((video.labels for video in splits["train"]), len(table.classes))
    for split in SPLITS:
        if not splits[split]:
            raise DataError(
                f"{path}: {len(table.videos)} videos leave {split} empty; every split needs one"
            )
    for label in (counts == 0).nonzero()[0]:
        raise DataError(
            f"{path}: label {table.classes[label]!r} is never in train, so that nothing can learn "
            "it; move a video with it there, or drop the label"
        )
    return Benchmark(
        name=name,
        title=name,
        classes=table.classes,
        splits={split: tuple(splits[split]) for split in SPLITS},
        bins=Bins.thirds(counts) if bins is None else bins,
        frames=frames,
    )
