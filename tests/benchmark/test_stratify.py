"""One's own videos, divided so that every class is in every part where it can be."""

import itertools
import random
import time
from dataclasses import replace
from fractions import Fraction

import pytest

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import SPLITS
from meid_bench.benchmark.longtail import class_counts
from meid_bench.benchmark.stratify import parse_fractions, stratify
from meid_bench.errors import SettingError

FRACTIONS = (Fraction(7, 10), Fraction(1, 10), Fraction(2, 10))
PRIORITY = ("train", "test", "val")


def made_videos(seed: int, videos: int, classes: int, most: int) -> list[Annotation]:
    dice = random.Random(seed)
    weights = [1 / (label + 1) for label in range(classes)]
    return [
        Annotation(
            f"v{n}",
            tuple(sorted(set(dice.choices(range(classes), weights, k=dice.randint(1, most))))),
        )
        for n in range(videos)
    ]


def absent(parts: dict[str, list[Annotation]], classes: int) -> tuple[int, ...]:
    """Classes missing from train, test, val though they have videos enough to be there."""
    counts = {name: class_counts((v.labels for v in parts[name]), classes) for name in SPLITS}
    total = sum(counts.values())
    return tuple(
        int(((total > rank) & (counts[name] == 0)).sum()) for rank, name in enumerate(PRIORITY)
    )


@pytest.mark.parametrize("seed", range(20))
def test_every_class_is_in_every_part(seed):
    videos = made_videos(seed, 120, 20, 3)
    parts = stratify(videos, 20, FRACTIONS)
    assert absent(parts, 20) == (0, 0, 0)
    assert sorted(v.id for part in parts.values() for v in part) == sorted(v.id for v in videos)
    assert abs(len(parts["train"]) - 84) <= 12 and abs(len(parts["test"]) - 24) <= 8


def test_tiny_cases_are_as_good_as_can_be():
    """Against every division there is: at most one of forty lacks what another would have."""
    worse = 0
    for seed in range(40):
        videos, classes = made_videos(seed, 6, 4, 3), 4
        best = min(
            absent(
                {
                    name: [v for v, at in zip(videos, choice, strict=True) if at == name]
                    for name in SPLITS
                },
                classes,
            )
            for choice in itertools.product(SPLITS, repeat=len(videos))
        )
        found = absent(stratify(videos, classes, FRACTIONS), classes)
        assert found[0] == best[0] == 0
        worse += found > best
    assert worse <= 1


def test_large_data_keep_the_fractions():
    parts = stratify(made_videos(0, 3000, 30, 3), 30, FRACTIONS)
    assert [len(parts[split]) / 3000 for split in SPLITS] == pytest.approx(
        [0.7, 0.1, 0.2], abs=0.01
    )


def test_order_changes_nothing():
    videos = made_videos(0, 60, 8, 2)
    one = {name: {v.id for v in part} for name, part in stratify(videos, 8, FRACTIONS).items()}
    turned = stratify(videos[::-1], 8, FRACTIONS)
    assert {name: {v.id for v in part} for name, part in turned.items()} == one


def test_fractions_are_exact():
    assert parse_fractions("0.7, 0.1,0.2") == FRACTIONS
    assert parse_fractions("1/3,1/3,1/3") == (Fraction(1, 3),) * 3


@pytest.mark.parametrize("text", ["0.7,0.3", "0.7,0.2,0.2", "1,0,0", "0.8,0.3,-0.1", "a,b,c", ""])
def test_fractions_that_are_none_are_refused(text):
    with pytest.raises(SettingError, match="add up to 1"):
        parse_fractions(text)


def grouped(seed: int, videos: int, classes: int, most: int, groups: int) -> list[Annotation]:
    """Made videos in groups of unlike sizes; one in ten is in none."""
    dice = random.Random(seed)
    return [
        replace(video, subject=f"g{int(groups * dice.random() ** 2)}" if n % 10 else None)
        for n, video in enumerate(made_videos(seed, videos, classes, most))
    ]


def units_of(videos: list[Annotation]) -> dict[str, list[Annotation]]:
    units: dict[str, list[Annotation]] = {}
    for video in videos:
        units.setdefault(video.subject or video.id, []).append(video)
    return units


@pytest.mark.parametrize("seed", range(10))
def test_groups_stay_on_one_side_and_classes_in_every_part(seed):
    videos = grouped(seed, 300, 12, 3, 25)
    parts = stratify(videos, 12, FRACTIONS)
    assert sorted(v.id for part in parts.values() for v in part) == sorted(v.id for v in videos)
    sides = [{video.subject for video in part} - {None} for part in parts.values()]
    assert sum(map(len, sides)) == len(set.union(*sides))
    held = [
        sum(any(c in v.labels for v in u) for u in units_of(videos).values()) for c in range(12)
    ]
    for rank, name in enumerate(PRIORITY):
        counts = class_counts((v.labels for v in parts[name]), 12)
        assert all(counts[c] for c in range(12) if held[c] > rank)
    assert [len(parts[split]) / 300 for split in SPLITS] == pytest.approx([0.7, 0.1, 0.2], abs=0.03)


def test_few_groups_are_divided_as_well_as_can_be():
    """Against every division there is: first who lacks a class, then the sizes of the parts."""

    def quality(parts: dict[str, list[Annotation]]) -> tuple[tuple[int, int, int], float]:
        off = sum(abs(len(parts[s]) - 40 * f) for s, f in zip(SPLITS, FRACTIONS, strict=True))
        lacks = [4 - len({c for v in parts[name] for c in v.labels}) for name in PRIORITY]
        return (lacks[0], lacks[1], lacks[2]), float(off)

    worse, off = 0, 0.0
    for seed in range(10):
        videos = grouped(seed, 40, 4, 2, 6)
        videos = [replace(video, subject=video.subject or "others") for video in videos]
        units = list(units_of(videos).values())
        best = min(
            quality(
                {
                    s: [v for u, a in zip(units, at, strict=True) if a == s for v in u]
                    for s in SPLITS
                }
            )
            for at in itertools.product(SPLITS, repeat=len(units))
        )
        found = quality(stratify(videos, 4, FRACTIONS))
        worse += found[0] > best[0]
        off += found[1] - best[1]
    assert worse == 0 and off / 10 <= 4


def test_the_order_of_grouped_videos_changes_nothing():
    videos = grouped(3, 200, 8, 2, 15)
    one = {name: {v.id for v in part} for name, part in stratify(videos, 8, FRACTIONS).items()}
    shuffled = random.Random(0).sample(videos, len(videos))
    turned = stratify(shuffled, 8, FRACTIONS)
    assert {name: {v.id for v in part} for name, part in turned.items()} == one


def test_every_class_is_in_train_however_few_the_groups():
    for seed in range(20):
        videos = grouped(seed, 60, 10, 3, seed % 5 + 1)
        assert absent(stratify(videos, 10, FRACTIONS), 10)[0] == 0


def test_groups_that_no_division_suits_take_seconds_and_not_minutes():
    videos = grouped(1, 500, 157, 7, 30)
    start = time.process_time()
    parts = stratify(videos, 157, FRACTIONS)
    assert time.process_time() - start < 60
    assert absent(parts, 157)[0] == 0 and all(parts.values())


def test_videos_without_labels_fill_up_what_is_left():
    videos = made_videos(0, 60, 8, 2) + [Annotation(f"none {n}", ()) for n in range(140)]
    parts = stratify(videos, 8, FRACTIONS)
    assert [len(parts[split]) for split in SPLITS] == [140, 20, 40]
