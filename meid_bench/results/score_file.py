"""Score files made elsewhere: .npz, .csv, and the official Charades submission format."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.csvfile import read_lines, read_rows
from meid_bench.errors import DataError, SettingError
from meid_bench.results.record import SCORES, load_scores

ID = "id"


def read_scores(path: Path, classes: Sequence[str]) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Ids and scores of a file, in the file's order.

    Args:
        path: By its suffix: .npz with "ids" (N,) and "scores" (N, C); .csv with a header of `id`
            and one column per class, named as the class or c000, c001, ..., in any order; .txt,
            the official Charades classification submission: an id and C numbers a line, between
            spaces, no header.
        classes: Class names, C of them.

    Returns:
        N ids and (N, C) floats.

    Raises:
        SettingError: The suffix is none of the three.
        DataError: The file is missing or damaged, or a line of it is not as it should be.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        ids, scores = load_scores(path)
    elif suffix == ".csv":
        ids, scores = _read_csv(path, classes)
    elif suffix == ".txt":
        ids, scores = _read_official(path, len(classes))
    else:
        raise SettingError(
            f"{path} has the suffix {path.suffix!r}; expected .npz, .csv or .txt "
            "(the official Charades submission)"
        )
    if scores.dtype.kind not in "fiu":
        raise DataError(f"{path}: scores are {scores.dtype}; expected numbers")
    if scores.shape[1] != len(classes):
        raise DataError(
            f"{path} has scores of {scores.shape[1]} classes; expected {len(classes)}, "
            "in the benchmark's order"
        )
    return ids, scores.astype(np.float32) if scores.dtype.kind != "f" else scores


def arrange(
    path: Path, ids: Sequence[str], scores: NDArray[Any], wanted: Sequence[str], name: str
) -> NDArray[Any]:
    """Scores in the order of `wanted`, (N, C); every id must be there once, and no other.

    Raises:
        DataError: An id is missing, twice, or foreign; names the first.
    """
    row = {video: position for position, video in enumerate(ids)}
    if len(row) < len(ids):
        double = next(video for position, video in enumerate(ids) if row[video] != position)
        raise DataError(f"{path} has video {double!r} twice; expected every id once")
    expected = set(wanted)
    foreign = next((video for video in ids if video not in expected), None)
    if foreign is not None:
        raise DataError(
            f"{path} has video {foreign!r}, which is not in {name}'s test split; "
            f"expected its {len(wanted)} ids and no other"
        )
    missing = next((video for video in wanted if video not in row), None)
    if missing is not None:
        raise DataError(
            f"{path} has no scores of {missing!r}; expected all {len(wanted)} test ids of {name}, "
            f"found {len(ids)}"
        )
    return scores[[row[video] for video in wanted]]


def load_test_scores(folder: Path, benchmark: Benchmark) -> NDArray[Any]:
    """The scores saved beside a record, in the order of the test ids, (N, C).

    Raises:
        DataError: They are missing, damaged, or not of this test split and these classes.
    """
    ids, scores = read_scores(folder / SCORES, benchmark.classes)
    return arrange(folder / SCORES, ids, scores, benchmark.ids("test"), benchmark.name)


def probabilities(path: Path, ids: Sequence[str], values: NDArray[Any], logits: bool) -> Any:
    """Scores as float32 probabilities, (N, C).

    Args:
        path: For the message.
        ids: Of the rows, for the message.
        values: (N, C), logits or probabilities.
        logits: Which of the two.

    Raises:
        DataError: A value is not finite, or is no probability.
    """
    good = np.isfinite(values) if logits else (values >= 0) & (values <= 1)
    if not good.all():
        row, column = np.argwhere(~good)[0]
        value = values[row, column]
        hint = "" if logits or not np.isfinite(value) else "; give --logits if these are logits"
        expected = "a finite number" if logits else "a probability in [0, 1]"
        raise DataError(
            f"{path}: video {ids[row]!r}, class {column} has the score {value}; "
            f"expected {expected}{hint}"
        )
    if not logits:
        return values.astype(np.float32)
    with np.errstate(over="ignore"):  # exp(-x) of a very negative x: the score is 0
        return (1 / (1 + np.exp(-values.astype(np.float64)))).astype(np.float32)


def _read_csv(path: Path, classes: Sequence[str]) -> tuple[tuple[str, ...], NDArray[Any]]:
    ids, rows = [], []
    order: list[str] | None = None
    for line, cells in read_rows(path, (ID,)):
        if order is None:
            order = _columns(path, [name for name in cells if name != ID], classes)
        ids.append(cells[ID].strip())
        rows.append(_numbers(path, line, [cells[name] for name in order]))
    if order is None:
        raise DataError(f"{path} has no row; expected one line per test video")
    return tuple(ids), np.array(rows)


def _columns(path: Path, names: list[str], classes: Sequence[str]) -> list[str]:
    """The column of each class, in the benchmark's order."""
    codes = [f"c{c:03d}" for c in range(len(classes))]
    for known in (list(classes), codes):
        if sorted(names) == sorted(known):
            return known
    if len(names) != len(classes):
        raise DataError(
            f"{path} has {len(names)} columns beside {ID}; expected {len(classes)}, one per class"
        )
    stranger = next((name for name in names if name not in {*classes, *codes}), names[0])
    raise DataError(
        f"{path}: column {stranger!r} names no class; expected the class names, "
        f"or {codes[0]} to {codes[-1]}"
    )


def _read_official(path: Path, num_classes: int) -> tuple[tuple[str, ...], NDArray[Any]]:
    ids, rows = [], []
    for line, text in read_lines(path):
        name, *cells = text.split()
        if len(cells) != num_classes:
            raise DataError(
                f"{path}, line {line}: {len(cells)} numbers after {name!r}; "
                f"expected an id and {num_classes} numbers, and no header"
            )
        ids.append(name)
        rows.append(_numbers(path, line, cells))
    if not rows:
        raise DataError(f"{path} is empty; expected one line per test video")
    return tuple(ids), np.array(rows)


def _numbers(path: Path, line: int, cells: Iterable[str]) -> list[float]:
    values = []
    for cell in cells:
        try:
            value = float(cell)
        except ValueError as error:
            raise DataError(
                f"{path}, line {line}: {cell!r} is no number; expected scores (a header belongs "
                "in .csv only, as its first line)"
            ) from error
        if not math.isfinite(value):
            raise DataError(f"{path}, line {line}: the score {cell} is not finite")
        values.append(value)
    return values
