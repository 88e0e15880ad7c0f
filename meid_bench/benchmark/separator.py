"""Separator: what stands between the labels of a cell, as far as a file itself tells it; pure."""

from collections.abc import Iterable, Sequence

from meid_bench.errors import DataError, listing

# Between labels these are common, and inside a label they are not.
STRONG = (";", "|")
# These stand inside labels too: "cut, dice", "closet/cabinet".
WEAK = (",", "/", "+", "&")
USUAL = STRONG[0]


def pieces(cell: str, separator: str) -> tuple[str, ...]:
    """The labels of a cell, in its order: space around them and empty ones are dropped."""
    return tuple(filter(None, map(str.strip, cell.split(separator))))


def guess_separator(cells: Sequence[str], where: str) -> str:
    """Find the separator that the cells of labels themselves tell.

    Where ; or | is in the file, it is the one. Where neither is, a comma is, if cells share what
    stands between commas, so that there is less of that than of different cells. What could be
    read in two ways is refused: commas without that sign; / + or & with it, since they are common
    inside labels; ; beside |; and labels that commas make up of other labels of the file.

    Args:
        cells: Every row's labels as they stand in the file.
        where: The file, for the message.

    Raises:
        DataError: The file can be read in two ways; the message says both.

    Example:
        >>> guess_separator(["cut,stir", "stir", "cut"], "labels.csv")
        ','
    """
    cells = [cell.strip() for cell in cells]
    strong = [mark for mark in STRONG if any(mark in cell for cell in cells)]
    if len(strong) > 1:
        raise _ambiguous(cells, strong, where)
    if strong and _made_of_others(cells, strong[0], ","):
        raise _ambiguous(cells, [strong[0], ","], where)
    if strong:
        return strong[0]
    found = [mark for mark in WEAK if any(mark in cell for cell in cells)]
    shared = [mark for mark in found if len(_classes(cells, mark)) < len(set(filter(None, cells)))]
    if shared == [","]:
        return ","
    if shared or "," in found:
        raise _ambiguous(cells, [*(shared or [","]), USUAL][:2], where)
    return USUAL


def _classes(cells: Iterable[str], separator: str) -> list[str]:
    return sorted({label for cell in cells for label in pieces(cell, separator)})


def _made_of_others(cells: Sequence[str], separator: str, mark: str) -> bool:
    """Whether a label, as `separator` has it, is made up by `mark` of labels that are there too."""
    classes = set(_classes(cells, separator))
    made = (pieces(label, mark) for label in classes)
    return any(len(parts) > 1 and classes.issuperset(parts) for parts in made)


def _ambiguous(cells: Sequence[str], marks: Sequence[str], where: str) -> DataError:
    """The refusal of a file in which either of two characters may separate labels."""
    readings = []
    for mark in marks:
        classes = [repr(name) for name in _classes(cells, mark)]
        readings.append(
            f"with {mark!r} between them they are {len(classes)}, {listing(classes, 3)}"
        )
    return DataError(
        f"{where}: labels can be read in two ways: {'; '.join(readings)}; say which with "
        f"--separator {marks[0]!r} or --separator {marks[1]!r}"
    )
