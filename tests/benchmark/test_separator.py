"""What stands between labels: told by the file, or refused with both readings."""

import doctest

import pytest

from meid_bench.benchmark import separator
from meid_bench.benchmark.separator import guess_separator, pieces
from meid_bench.errors import DataError


def test_the_example_in_the_docstring_is_true() -> None:
    assert doctest.testmod(separator).failed == 0


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["cut;stir", "stir", ""], ";"),
        (["cut|stir", "stir"], "|"),
        (["cut,stir", "stir", "cut"], ","),
        (["cut, stir", "stir, cut", "stir", "cut"], ","),
        (["cut", "stir", "open a door"], ";"),
        # Names with other characters in them:
        (["cut, dice;stir", "cut", "stir"], ";"),
        (["open a closet/cabinet", "salt & pepper", "c++"], ";"),
        (["cut/dice|stir", "cut|dice"], "|"),
        ([], ";"),
    ],
)
def test_what_the_file_tells(cells: list[str], found: str) -> None:
    assert guess_separator(cells, "labels.csv") == found


@pytest.mark.parametrize(
    ("cells", "readings"),
    [
        (
            ["cut, dice", "stir"],
            "with ',' between them they are 3, 'cut', 'dice', 'stir'; "
            "with ';' between them they are 2, 'cut, dice', 'stir'; "
            "say which with --separator ',' or --separator ';'",
        ),
        (["cut;stir", "pour|mix"], "with ';' .* 3, 'cut', 'pour|mix', 'stir'; with '|' "),
        (["cut;stir", "cut,stir", "stir"], "with ';' .* 3, 'cut', 'cut,stir', 'stir'; with ','"),
        (["cut/stir", "stir", "cut"], "with '/' .* 2, .*with ';' .* 3, 'cut', 'cut/stir', 'stir'"),
        (["a,b", "b+a", "a", "b", "a+b"], "with ',' .* 4, .* with '[+]' .* 3, 'a', 'a,b', 'b'"),
    ],
)
def test_two_readings_are_refused(cells: list[str], readings: str) -> None:
    pattern = readings.replace("|", "[|]")
    with pytest.raises(DataError, match=pattern) as caught:
        guess_separator(cells, "labels.csv")
    assert str(caught.value).startswith("labels.csv: labels can be read in two ways: ")


def test_twenty_eight_cells_of_nine_labels_are_nine_classes() -> None:
    names = [f"label {n}" for n in range(9)]
    cells = [f"{one},{two}" for n, one in enumerate(names) for two in names[n + 1 :]][:28]
    mark = guess_separator(cells, "labels.csv")
    assert len({label for cell in cells for label in pieces(cell, mark)}) == 9


def test_space_around_labels_and_empty_ones_are_dropped() -> None:
    assert pieces(" open a door ;sit;;sit", ";") == ("open a door", "sit", "sit")
