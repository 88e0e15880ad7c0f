"""One's own videos, divided so that every class is in every part where it can be."""

import itertools
import random
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
