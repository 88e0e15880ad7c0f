"""The long tail in numbers: class counts, head/medium/tail bins, imbalance ratio; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

GROUPS = ("head", "medium", "tail")


@dataclass(frozen=True, slots=True)
class Bins:
    """Bounds of the groups by training count n: tail n <= tail_max < medium <= medium_max < head.

    Reference:
        MEID (AAAI 2023), headings of Tables 2 and 3: CharadesLT (0, 20], (20, 100], (100, inf);
        VideoLT (0, 100], (100, 500], (500, inf).
    """

    tail_max: int
    medium_max: int

    def __post_init__(self) -> None:
        """Refuse bounds that are out of order."""
        if not 0 <= self.tail_max <= self.medium_max:
            raise ValueError(f"bins need 0 <= tail_max <= medium_max, not {self}")

    @classmethod
    def thirds(cls, counts: NDArray[np.int64]) -> "Bins":
        """Bounds that put a third of the classes, by training counts (C,), into each group.

        Classes of equal count stay together, so that the groups may differ in size.
        """
        ordered = np.sort(counts)
        third = max(len(ordered) // 3, 1)
        return cls(
            tail_max=int(ordered[third - 1]),
            medium_max=int(ordered[max(len(ordered) - third - 1, 0)]),
        )

    def groups(self, counts: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Class indices of each group, from training counts (C,)."""
        head = counts > self.medium_max
        tail = counts <= self.tail_max
        masks = {"head": head, "medium": ~head & ~tail, "tail": tail}
        return {group: np.flatnonzero(masks[group]) for group in GROUPS}


def multi_hot(labels: Sequence[Sequence[int]], num_classes: int) -> NDArray[np.uint8]:
    """Labels as a matrix (N, C) uint8 of 0 and 1, from each video's class indices."""
    matrix = np.zeros((len(labels), num_classes), dtype=np.uint8)
    for row, of_video in zip(matrix, labels, strict=True):
        row[list(of_video)] = 1
    return matrix


def class_counts(labels: Iterable[Sequence[int]], num_classes: int) -> NDArray[np.int64]:
    """Videos per class, (C,) int64, from each video's class indices (each once a video)."""
    counts = np.zeros(num_classes, dtype=np.int64)
    for of_video in labels:
        counts[list(of_video)] += 1
    return counts


def imbalance_ratio(counts: NDArray[np.int64]) -> float:
    """Largest over smallest class count; infinite where a class has no video.

    Reference: MEID (AAAI 2023), caption of Table 1.
    """
    if not len(counts):
        return float("nan")
    smallest = int(counts.min())
    return int(counts.max()) / smallest if smallest else float("inf")


@dataclass(frozen=True, slots=True)
class Statistics:
    """One row of MEID's Table 1.

    The mean number of labels is over train and test together, which is what the paper prints
    (6.9 and 9.6; its authors' training lists alone have 6.3 and 8.9); the imbalance ratio is the
    training split's.
    """

    classes: int
    head: int
    medium: int
    tail: int
    train: int
    val: int
    test: int
    labels_per_video: float
    imbalance_ratio: float


def statistics(
    labels: Mapping[str, Sequence[Sequence[int]]], num_classes: int, bins: Bins
) -> Statistics:
    """Table 1's row for `labels`: split name -> class indices of each of its videos."""
    train = labels["train"]
    both = [*train, *labels["test"]]
    counts = class_counts(train, num_classes)
    sizes = {group: len(index) for group, index in bins.groups(counts).items()}
    return Statistics(
        classes=num_classes,
        **sizes,
        train=len(train),
        val=len(labels["val"]),
        test=len(labels["test"]),
        labels_per_video=sum(map(len, both)) / len(both) if both else float("nan"),
        imbalance_ratio=imbalance_ratio(counts),
    )


_TABLE1_NAMES = {
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
class Table1Number:
    """One number of Table 1's row, as built and as the paper prints it.

    Attributes:
        name: What it is.
        built: As it would be printed: whole numbers, and one decimal for the two quotients.
        expected: The paper's, or None where no paper printed one.
    """

    name: str
    built: str
    expected: str | None

    @property
    def agrees(self) -> bool | None:
        """Whether both print alike; None where there is nothing to compare with."""
        return None if self.expected is None else self.built == self.expected


def table1_row(built: Statistics, expected: Statistics | None) -> list[Table1Number]:
    """Every number of Table 1's row beside the paper's, in the paper's order.

    >>> row = Statistics(157, 41, 81, 35, 2213, 469, 1012, 6.93, 61.78)
    >>> table1_row(row, Statistics(157, 41, 81, 35, 2213, 469, 1012, 6.9, 61.8))[-1]
    Table1Number(name='imbalance ratio (train)', built='61.8', expected='61.8')
    """
    return [
        Table1Number(
            _TABLE1_NAMES[field.name],
            _printed(getattr(built, field.name)),
            None if expected is None else _printed(getattr(expected, field.name)),
        )
        for field in fields(Statistics)
    ]


def _printed(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.1f}"
