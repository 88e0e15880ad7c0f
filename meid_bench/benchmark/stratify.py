"""Dividing one's own videos into train, val and test, tail classes included; pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import SPLITS
from meid_bench.benchmark.longtail import class_counts
from meid_bench.errors import SettingError

# A class of one video is in train only, of two in train and test: training cannot do without
# it, and what is not tested is not measured.
_PRIORITY = ("train", "test", "val")
_CHAIN = 3  # moves of one video each that follow from one another


def parse_fractions(text: str) -> tuple[Fraction, Fraction, Fraction]:
    """Read "0.7,0.1,0.2": the fractions of train, val and test.

    Raises:
        SettingError: These are not three positive numbers that add up to 1.
    """
    try:
        fractions = tuple(Fraction(part.strip()) for part in text.split(","))
    except (ValueError, ZeroDivisionError):
        fractions = ()
    if len(fractions) != 3 or min(fractions) <= 0 or sum(fractions) != 1:
        raise SettingError(
            f"Fractions {text!r} where three positive numbers for train, val and test that add up "
            "to 1 were expected, such as 0.7,0.1,0.2"
        )
    return fractions


@dataclass
class _Division:
    """Who is where so far; P parts in the order of SPLITS."""

    labels: list[tuple[int, ...]]
    wanted: NDArray[np.int64]  # (C, P) whether a class has to be in a part, 0 or 1
    part: list[int] = field(init=False)
    counts: NDArray[np.int64] = field(init=False)  # (C, P)
    members: list[list[int]] = field(init=False)  # videos of each class

    def __post_init__(self) -> None:
        self.part = [-1] * len(self.labels)
        self.counts = np.zeros_like(self.wanted)
        self.members = [[] for _ in self.wanted]
        for video, labels in enumerate(self.labels):
            for label in labels:
                self.members[label].append(video)

    def put(self, video: int, part: int) -> None:
        """Move a video to a part."""
        classes = list(self.labels[video])
        if self.part[video] >= 0:
            self.counts[classes, self.part[video]] -= 1
        self.counts[classes, part] += 1
        self.part[video] = part

    def absent(self) -> NDArray[np.bool_]:
        """Classes that are not in a part where they have to be, (C, P)."""
        return self.counts < self.wanted

    def cost(self) -> tuple[int, ...]:
        """How many classes each part lacks, the part that can least do without first."""
        lacking = self.absent().sum(axis=0)
        return tuple(int(lacking[SPLITS.index(split)]) for split in _PRIORITY)


def stratify(
    videos: Sequence[Annotation],
    num_classes: int,
    fractions: Sequence[Fraction],
) -> dict[str, list[Annotation]]:
    """Divide videos so that every class is in every part where it can be.

    The rarest class is dealt out first, each of its videos to a part that has none of it yet,
    then to the part that lacks most of its quota. Classes with three videos or more are in all
    parts, unless their videos' other labels stand against it; those with two are in train and
    test. Where this and the fractions cannot both hold, it comes first.

    Args:
        videos: Those to divide, each with a label.
        num_classes: C.
        fractions: Of train, val and test; they add up to 1.

    Returns:
        Split to its videos, in the given order.

    Reference:
        Sechidis et al., "On the Stratification of Multi-label Data", ECML PKDD 2011.
    Differs:
        Presence in each part comes before the fractions, ties are broken by a hash of the id and
        not by chance, and a last pass moves videos where a class is still absent from a part.
    """
    ordered = sorted(
        range(len(videos)),
        key=lambda i: hashlib.sha256(videos[i].id.encode()).digest(),
    )
    totals = class_counts((video.labels for video in videos), num_classes)
    division = _Division([videos[i].labels for i in ordered], _wanted(totals))
    _deal(division, totals, fractions)
    _mend(division)
    part = dict(zip(ordered, division.part, strict=True))
    return {
        split: [video for i, video in enumerate(videos) if part[i] == number]
        for number, split in enumerate(SPLITS)
    }


def _wanted(totals: NDArray[np.int64]) -> NDArray[np.int64]:
    wanted = np.zeros((len(totals), len(SPLITS)), dtype=np.int64)
    for rank, split in enumerate(_PRIORITY):
        wanted[:, SPLITS.index(split)] = totals > rank
    return wanted


def _deal(division: _Division, totals: NDArray[np.int64], fractions: Sequence[Fraction]) -> None:
    """Deal the videos of each class to the parts, the rarest class first."""
    room = [fraction * len(division.labels) for fraction in fractions]
    order = [SPLITS.index(split) for split in _PRIORITY]
    for label in np.lexsort((np.arange(len(totals)), totals)):
        quota = [fraction * int(totals[label]) for fraction in fractions]
        for video in division.members[label]:
            if division.part[video] >= 0:
                continue
            counts, wanted = division.counts[label], division.wanted[label]
            part = max(
                order,
                key=lambda p: (
                    counts[p] < wanted[p],
                    quota[p] - int(counts[p]),
                    room[p],
                    -order.index(p),
                ),
            )
            division.put(video, part)
            room[part] -= 1


def _mend(division: _Division) -> None:
    """Move videos as long as that brings a class into a part without taking a dearer one out."""
    while any(before := division.cost()):
        places = [(int(label), int(part)) for label, part in np.argwhere(division.absent())]
        if not _bring(division, places, before, _CHAIN):
            break


def _bring(
    division: _Division, places: list[tuple[int, int]], before: tuple[int, ...], moves: int
) -> bool:
    """Bring one of some classes into a part where it is absent, at a cost below `before`.

    Where a video that moves takes another class with it, the next move of the chain may bring
    that one back; without success everything is put back.
    """
    for label, part in places:
        for video in division.members[label]:
            source = division.part[video]
            if source == part:
                continue
            division.put(video, part)
            if division.cost() < before:
                return True
            taken = [(other, source) for other in division.labels[video] if other != label]
            lost = [place for place in taken if division.absent()[place]]
            if moves > 1 and _bring(division, lost, before, moves - 1):
                return True
            division.put(video, source)
    return False
