"""Dividing one's own videos into train, val and test, tail classes included; pure."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import SPLITS
from meid_bench.benchmark.longtail import class_counts
from meid_bench.errors import SettingError

# A class of one video is in train only, of two in train and test: training cannot do without
# it, and what is not tested is not measured.
_PRIORITY = ("train", "test", "val")
_CHAIN = 3  # moves of one unit each that follow from one another
_TRIES = 10_000  # moves in all, a second or two: where nothing helps, chains have no end
# Levelling tries every move of up to so many units, and every exchange of up to so many; the groups
# of more are small beside the parts, and dealing alone keeps the fractions.
_MOVED, _EXCHANGED = 2_000, 100


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
    """Who is where so far; P parts in the order of SPLITS.

    What is moved is a unit: the videos of one group, or a video that is in none.
    """

    units: list[list[Annotation]]
    num_classes: int
    part: list[int] = field(init=False)
    sizes: NDArray[np.int64] = field(init=False)  # (P,) videos
    counts: NDArray[np.int64] = field(init=False)  # (C, P) videos
    wanted: NDArray[np.int64] = field(init=False)  # (C, P) whether a class has to be in a part
    members: list[list[int]] = field(init=False)  # units of each class
    amounts: list[NDArray[np.int64]] = field(init=False)  # videos of each of a unit's classes
    labels: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.part = [-1] * len(self.units)
        self.sizes = np.zeros(len(SPLITS), dtype=np.int64)
        self.counts = np.zeros((self.num_classes, len(SPLITS)), dtype=np.int64)
        self.members = [[] for _ in range(self.num_classes)]
        self.amounts, self.labels = [], []
        for number, unit in enumerate(self.units):
            of_unit = class_counts((video.labels for video in unit), self.num_classes)
            self.labels.append(np.flatnonzero(of_unit).tolist())
            self.amounts.append(of_unit[self.labels[-1]])
            for label in self.labels[-1]:
                self.members[label].append(number)
        self.wanted = np.zeros_like(self.counts)
        holders = np.array([len(members) for members in self.members], dtype=np.int64)
        for rank, split in enumerate(_PRIORITY):
            self.wanted[:, SPLITS.index(split)] = holders > rank

    def put(self, unit: int, part: int) -> None:
        """Move a unit to a part."""
        classes, amounts, size = self.labels[unit], self.amounts[unit], len(self.units[unit])
        if self.part[unit] >= 0:
            self.counts[classes, self.part[unit]] -= amounts
            self.sizes[self.part[unit]] -= size
        self.counts[classes, part] += amounts
        self.sizes[part] += size
        self.part[unit] = part

    def absent(self) -> NDArray[np.bool_]:
        """Classes that are not in a part where they have to be, (C, P)."""
        return self.counts < self.wanted

    def cost(self) -> tuple[int, ...]:
        """How many classes each part lacks, the part that can least do without first."""
        lacking = self.absent().sum(axis=0)
        return tuple(int(lacking[SPLITS.index(split)]) for split in _PRIORITY)

    def score(self, fractions: Sequence[Fraction]) -> tuple[float, ...]:
        """Less is better: the cost, an empty part before val and test; then sizes and counts."""
        train, *others = self.cost()
        shares = np.array([float(fraction) for fraction in fractions])
        totals = self.counts.sum(axis=1, keepdims=True)
        off = np.abs(self.sizes - shares * self.sizes.sum()).sum()
        off += np.abs(self.counts - shares * totals).sum() / max(self.num_classes, 1)
        return train, int((self.sizes == 0).sum()), *others, round(float(off), 6)


def stratify(
    videos: Sequence[Annotation],
    num_classes: int,
    fractions: Sequence[Fraction],
) -> dict[str, list[Annotation]]:
    """Divide videos so that every class is in every part where it can be.

    Videos of one subject stay together: what is said here of a video holds for such a group. The
    rarest class is dealt out first, each of its videos to a part that has none of it yet, then to
    the part that lacks most of its quota. Classes with three videos or more are in all parts,
    unless their videos' other labels stand against it; those with two are in train and test. Where
    this and the fractions cannot both hold, it comes first. Videos without labels fill up what the
    fractions leave open.

    Args:
        videos: Those to divide.
        num_classes: C.
        fractions: Of train, val and test; they add up to 1.

    Returns:
        Split to its videos, in the given order. Each class is in train; val and test may be empty
        where there are too few videos or groups.

    Reference:
        Sechidis et al., "On the Stratification of Multi-label Data", ECML PKDD 2011.
    Differs:
        Presence in each part comes before the fractions, ties are broken by a hash of the id and
        not by chance, and a last pass moves videos where a class is still absent from a part.
        Groups are of several sizes: large ones are dealt first; moves and exchanges bring the parts
        nearer to the fractions in the end, from this start and from one by sizes alone.
    """
    units = _units(videos)
    starts = (_deal, _fill) if any(len(unit) > 1 for unit in units) else (_deal,)
    divisions = []
    for start in starts:
        division = _Division(units, num_classes)
        start(division, fractions)
        if len(starts) > 1:
            _level(division, fractions)
        if any(division.cost()):
            _mend(division)
            if len(starts) > 1:
                _level(division, fractions)
        divisions.append(division)
    division = min(divisions, key=lambda division: division.score(fractions))
    part = {
        video.id: number
        for unit, number in zip(division.units, division.part, strict=True)
        for video in unit
    }
    return {
        split: [video for video in videos if part[video.id] == number]
        for number, split in enumerate(SPLITS)
    }


def _units(videos: Sequence[Annotation]) -> list[list[Annotation]]:
    """The videos of each group, and the others one by one; large groups first, then by a hash."""
    units: dict[str, list[Annotation]] = {}
    for video in videos:  # no id holds a tab
        name = video.id if video.subject is None else f"group\t{video.subject}"
        units.setdefault(name, []).append(video)
    digests = {name: hashlib.sha256(name.encode()).digest() for name in units}
    return [
        units[name] for name in sorted(units, key=lambda name: (-len(units[name]), digests[name]))
    ]


def _deal(division: _Division, fractions: Sequence[Fraction]) -> None:
    """Deal the units of each class to the parts, the rarest class first, and then those of none."""
    count = sum(map(len, division.units))
    order = [SPLITS.index(split) for split in _PRIORITY]
    totals = class_counts((v.labels for unit in division.units for v in unit), division.num_classes)

    for label in np.lexsort((np.arange(len(totals)), totals)):
        quota = [fraction * int(totals[label]) for fraction in fractions]
        for unit in division.members[label]:
            if division.part[unit] >= 0:
                continue
            counts, wanted = division.counts[label], division.wanted[label]
            part = max(
                order,
                key=lambda p: (
                    counts[p] < wanted[p],
                    quota[p] - int(counts[p]),
                    fractions[p] * count - int(division.sizes[p]),
                    -order.index(p),
                ),
            )
            division.put(unit, part)
    _fill(division, fractions)


def _fill(division: _Division, fractions: Sequence[Fraction]) -> None:
    """Deal the units that are nowhere yet, each to the part that has most room."""
    count = sum(map(len, division.units))
    order = [SPLITS.index(split) for split in _PRIORITY]
    for unit in range(len(division.units)):
        if division.part[unit] < 0:
            rooms = [fractions[p] * count - int(division.sizes[p]) for p in order]
            division.put(unit, order[rooms.index(max(rooms))])


def _mend(division: _Division) -> None:
    """Move units as long as that brings a class into a part without taking a dearer one out."""
    tries = iter(range(_TRIES))
    while any(before := division.cost()):
        places = [(int(label), int(part)) for label, part in np.argwhere(division.absent())]
        if not _bring(division, places, before, _CHAIN, tries):
            break


def _bring(
    division: _Division,
    places: list[tuple[int, int]],
    before: tuple[int, ...],
    moves: int,
    tries: Iterator[int],
) -> bool:
    """Bring one of some classes into a part where it is absent, at a cost below `before`.

    Where a unit that moves takes another class with it, the next move of the chain may bring
    that one back; without success everything is put back.
    """
    for label, part in places:
        for unit in division.members[label]:
            source = division.part[unit]
            if source == part:
                continue
            if next(tries, None) is None:
                return False
            division.put(unit, part)
            if division.cost() < before:
                return True
            taken = [(other, source) for other in division.labels[unit] if other != label]
            lost = [place for place in taken if division.absent()[place]]
            if moves > 1 and _bring(division, lost, before, moves - 1, tries):
                return True
            division.put(unit, source)
    return False


def _level(division: _Division, fractions: Sequence[Fraction]) -> None:
    """Bring parts and classes nearer to the fractions by moving and exchanging units.

    No class leaves a part for that; a part that is empty comes before val's and test's classes.
    """
    best = division.score(fractions)
    better = True
    while better:
        better = False
        for moves in _changes(division):
            back = [(unit, division.part[unit]) for unit, _ in moves]
            for unit, part in moves:
                division.put(unit, part)
            if (now := division.score(fractions)) < best:
                best, better = now, True
            else:
                for unit, part in back:
                    division.put(unit, part)


def _changes(division: _Division) -> Iterator[list[tuple[int, int]]]:
    """Every move of one unit and every exchange of two, small ones first, from where they are."""
    part, number = division.part, len(division.units)
    for unit in reversed(range(number)) if number <= _MOVED else ():
        for to in range(len(SPLITS)):
            if part[unit] != to:
                yield [(unit, to)]
    for one, other in combinations(reversed(range(number)), 2) if number <= _EXCHANGED else ():
        if part[one] != part[other]:
            yield [(one, part[other]), (other, part[one])]
