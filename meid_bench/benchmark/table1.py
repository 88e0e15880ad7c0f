"""Table 1: the row of a benchmark beside the paper's, number by number."""

from dataclasses import dataclass, fields

from meid_bench.benchmark.longtail import Statistics

_NAMES = {
    "classes": "classes",
    "head": "head classes",
    "medium": "medium classes",
    "tail": "tail classes",
    "train": "train videos",
    "val": "val videos",
    "test": "test videos",
    "labels_per_video": "labels per video (train, test)",
    "imbalance_ratio": "imbalance ratio (train)",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number of the row.

    Attributes:
        name: What it is.
        found: As it would be printed: whole numbers, and one decimal for the two quotients.
        expected: The paper's, or None where no paper printed one.
    """

    name: str
    found: str
    expected: str | None

    @property
    def agrees(self) -> bool | None:
        """Whether both print alike; None where there is nothing to compare with."""
        return None if self.expected is None else self.found == self.expected


def compare(found: Statistics, expected: Statistics | None) -> list[Comparison]:
    """Every number of Table 1's row beside the paper's, in the paper's order.

    >>> row = Statistics(157, 41, 81, 35, 2213, 469, 1012, 6.93, 61.78)
    >>> compare(row, Statistics(157, 41, 81, 35, 2213, 469, 1012, 6.9, 61.8))[-1]
    Comparison(name='imbalance ratio (train)', found='61.8', expected='61.8')
    """
    return [
        Comparison(
            _NAMES[field.name],
            _printed(getattr(found, field.name)),
            None if expected is None else _printed(getattr(expected, field.name)),
        )
        for field in fields(Statistics)
    ]


def _printed(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.1f}"
