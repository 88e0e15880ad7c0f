"""Charades and Charades-Ego: the official classes and annotation files, as annotations."""

import math
import re
from pathlib import Path

from meid_bench.benchmark.annotation import Annotation, Interval, id_fault
from meid_bench.csvfile import read_lines, read_rows
from meid_bench.errors import DataError, listing

COLUMNS = ("id", "subject", "script", "actions", "length")
EGO_COLUMN = "egocentric"
VIEWS = {"Yes": "first", "No": "third"}
EGO_SUFFIX = "EGO"
_CODE = re.compile(r"c(\d{3})")


def read_classes(path: Path) -> tuple[str, ...]:
    """Read the official class list, lines such as "c000 Juggling some apples".

    Returns:
        The names; the position is the class index.

    Raises:
        DataError: A line is not of that form, or the codes do not count up from c000.
    """
    names: list[str] = []
    for line, text in read_lines(path):
        code, _, name = text.partition(" ")
        expected = f"c{len(names):03d}"
        if code != expected or not name.strip():
            raise DataError(
                f"{path}, line {line}: {text!r} where '{expected} <class name>' was expected; "
                "fetch the official file again"
            )
        names.append(name.strip())
    if not names:
        raise DataError(f"{path} names no class; fetch the official file again")
    return tuple(names)


def read_annotations(path: Path, num_classes: int, ego: bool = False) -> list[Annotation]:
    """Read an official Charades or Charades-Ego csv, every row of it.

    A label is in the set of classes of the row's `actions`, whether or not an interval of it
    is kept; intervals are clipped to the video, and those of which nothing is left are dropped
    (some start at or after the end, a few are written backwards). Where the column
    `egocentric` is there, the view and the name that paired views share are read too.

    Args:
        path: The csv file, UTF-8.
        num_classes: Classes c000 .. of the class list.
        ego: The file must have the column `egocentric`.

    Returns:
        One annotation a row, in the file's order; rows without actions have no labels.

    Raises:
        DataError: A column is missing, a row is malformed, a class is unknown, an id is twice;
            the message names file and line.

    Reference:
        README of Charades v1: "class start end" triplets separated by semicolons, seconds.
        Charades-Ego's paired view is the id with or without the suffix EGO; its column
        `charades_video` names a Charades video of the same script, not the pair.
    """
    annotations: list[Annotation] = []
    lines: dict[str, list[int]] = {}
    for line, row in read_rows(path, (*COLUMNS, EGO_COLUMN) if ego else COLUMNS):
        try:
            annotation = _annotation(row, num_classes)
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}; correct that row") from error
        lines.setdefault(annotation.id, []).append(line)
        annotations.append(annotation)
    if doubled := [name for name in lines if len(lines[name]) > 1]:
        one, *others = lines[doubled[0]]
        raise DataError(
            f"{path}, line {others[0]}: video {doubled[0]!r} stands on line {one} already; every "
            f"id may stand once, {len(doubled)} do not: {listing(doubled)}"
        )
    return annotations


def _annotation(row: dict[str, str], num_classes: int) -> Annotation:
    name = row["id"].strip()
    if fault := id_fault(name):
        raise ValueError(fault)
    length = _number(row["length"], "length")
    labels: set[int] = set()
    intervals: list[Interval] = []
    for action in filter(None, map(str.strip, row["actions"].split(";"))):
        label, start, end = _action(action, num_classes)
        labels.add(label)
        start, end = max(start, 0.0), min(end, length)
        if start < end:
            intervals.append(Interval(label, start, end))
    view = pair = None
    if EGO_COLUMN in row:
        egocentric = row[EGO_COLUMN].strip()
        if egocentric not in VIEWS:
            raise ValueError(f"egocentric is {egocentric!r} where Yes or No was expected")
        view, pair = VIEWS[egocentric], name.removesuffix(EGO_SUFFIX)
    return Annotation(
        id=name,
        labels=tuple(sorted(labels)),
        intervals=tuple(intervals),
        subject=row["subject"].strip() or None,
        script=" ".join(row["script"].split()) or None,
        length=length,
        view=view,
        pair=pair,
    )


def _action(action: str, num_classes: int) -> tuple[int, float, float]:
    cells = action.split()
    if len(cells) != 3:
        raise ValueError(f"action {action!r} where 'c000 <start> <end>' was expected")
    code = _CODE.fullmatch(cells[0])
    if code is None or int(code[1]) >= num_classes:
        raise ValueError(
            f"unknown class {cells[0]!r} where c000 to c{num_classes - 1:03d} was expected"
        )
    return int(code[1]), _number(cells[1], "start"), _number(cells[2], "end")


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{what} is {text!r} where a number of seconds was expected")
    return value
