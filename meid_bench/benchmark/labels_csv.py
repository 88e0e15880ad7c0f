"""A labels.csv of one's own, read: videos with their labels, groups and splits."""

from dataclasses import dataclass
from pathlib import Path

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import SPLITS
from meid_bench.benchmark.separator import guess_separator, pieces
from meid_bench.benchmark.video_folder import video_id
from meid_bench.csvfile import read_rows
from meid_bench.errors import DataError

COLUMNS = ("video", "labels")


@dataclass(frozen=True)
class LabelCsv:
    """What a labels.csv says.

    Attributes:
        classes: Every label in it, sorted; the position is the class index.
        videos: One annotation a row, in the file's order; its subject is the row's group.
        splits: The row's split, in the same order; None where the file has no such column.
        separator: What stands between labels; None where no video has two.
    """

    classes: tuple[str, ...]
    videos: tuple[Annotation, ...]
    splits: tuple[str, ...] | None
    separator: str | None


def read_labels(path: Path, separator: str | None = None) -> LabelCsv:
    """Read a csv with the columns video and labels, and optionally split and group.

    A video is the path of its file in the folder of videos, with or without a suffix such as .mp4;
    `video_id` makes its id of it. Space around a label is dropped, space inside it is part of its
    name; repeated labels count once. A row without labels is a video of no class. Videos of one
    group (a person, a camera, a recording) belong together; an empty cell is no group.

    Args:
        path: The file, UTF-8, with or without a byte-order mark; other columns are ignored.
        separator: What stands between two labels; guessed where it is left out.

    Raises:
        DataError: A column is missing, no row has a label, an id is twice, a split has another
            name than train, val or test, or labels can be read in two ways; the message names the
            file, and the line where there is one.
    """
    rows = list(read_rows(path, COLUMNS))
    if not rows:
        raise DataError(f"{path} has no row under its header; give each video one")
    lines: dict[str, int] = {}
    for line, row in rows:
        try:
            video = video_id(row["video"])
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}") from error
        if video in lines:
            raise DataError(
                f"{path}, line {line}: video {video!r} is there twice, in line {lines[video]} too; "
                "give it one row"
            )
        lines[video] = line
    cells = [row["labels"] for _, row in rows]
    if separator is None:
        separator = guess_separator(cells, str(path))
    names = [pieces(cell, separator) for cell in cells]
    if not any(names):
        raise DataError(f"{path}: no video has a label; name each one's under 'labels'")
    classes = tuple(sorted({label for labels in names for label in labels}))
    index = {label: number for number, label in enumerate(classes)}
    videos = tuple(
        Annotation(
            id=video,
            labels=tuple(sorted({index[label] for label in labels})),
            subject=row.get("group", "").strip() or None,
        )
        for video, labels, (_, row) in zip(lines, names, rows, strict=True)
    )
    separates = separator if any(len(labels) > 1 for labels in names) else None
    return LabelCsv(classes, videos, _splits(path, rows), separates)


def _splits(path: Path, rows: list[tuple[int, dict[str, str]]]) -> tuple[str, ...] | None:
    if "split" not in rows[0][1]:
        return None
    splits = []
    for line, row in rows:
        splits.append(row["split"].strip())
        if splits[-1] not in SPLITS:
            raise DataError(
                f"{path}, line {line}: split {splits[-1]!r} where {', '.join(SPLITS)} was "
                "expected; correct it, or leave the column out and have the videos divided"
            )
    return tuple(splits)
