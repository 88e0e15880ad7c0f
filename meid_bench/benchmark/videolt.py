"""VideoLT: the official lists, as annotations."""

from pathlib import Path

from meid_bench.benchmark.annotation import Annotation, id_fault
from meid_bench.csvfile import read_lines
from meid_bench.errors import DataError


def read_classes(path: Path) -> tuple[str, ...]:
    """Read the official counts file, lines such as "3DPrinter 1 308.0".

    Returns:
        The names; the position is the class index. The counts are not used: they are those of
        the training list.

    Raises:
        DataError: A line is not "name index count", or the indices are not 0, 1, 2 and so on.
    """
    names: dict[int, str] = {}
    for line, text in read_lines(path):
        cells = text.rsplit(maxsplit=2)
        if len(cells) != 3 or not cells[1].isdecimal() or int(cells[1]) in names:
            raise DataError(
                f"{path}, line {line}: {text!r} where '<name> <index, each once> <count>' was "
                "expected; fetch the official file again"
            )
        names[int(cells[1])] = cells[0]
    if not names or set(names) != set(range(len(names))):
        raise DataError(
            f"{path} names {len(names)} classes, but not the indices 0 to {len(names) - 1}; "
            "fetch the official file again"
        )
    return tuple(names[index] for index in range(len(names)))


def read_list(path: Path, num_classes: int) -> tuple[Annotation, ...]:
    """Read one official list, lines such as "Rijq4BMl4Ig 178,343": an id and class indices.

    Args:
        path: train.lst, validate.lst or test.lst.
        num_classes: Classes 0 .. of the counts file.

    Returns:
        One annotation a line, in the file's order.

    Raises:
        DataError: A line is malformed, a class is unknown, an id is twice.
    """
    videos: dict[str, Annotation] = {}
    for line, text in read_lines(path):
        where = f"{path}, line {line}"
        name, _, indices = text.partition(" ")
        if fault := id_fault(name):
            raise DataError(f"{where}: {fault}; correct that line")
        if name in videos:
            raise DataError(f"{where}: video {name!r} is listed twice; list it once")
        labels = [index.strip() for index in indices.split(",")]
        for label in labels:
            if not label.isdecimal() or int(label) >= num_classes:
                raise DataError(
                    f"{where}: class {label!r} where an index from 0 to {num_classes - 1} was "
                    "expected; correct that line"
                )
        videos[name] = Annotation(id=name, labels=tuple(sorted(set(map(int, labels)))))
    if not videos:
        raise DataError(f"{path} lists no video; fetch the official file again")
    return tuple(videos.values())
