"""One's own data as a benchmark like any other, and what its owner should know of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import SPLITS, Benchmark
from meid_bench.benchmark.labels_csv import LabelCsv, read_labels
from meid_bench.benchmark.longtail import GROUPS, Bins, class_counts
from meid_bench.benchmark.stratify import stratify
from meid_bench.errors import DataError, listing

FRACTIONS = (Fraction(7, 10), Fraction(1, 10), Fraction(2, 10))
# A bin of fewer test positives ranks methods by a handful of videos.
FEW = 5

Splits = Mapping[str, Sequence[Annotation]]


@dataclass(frozen=True)
class OwnBenchmark:
    """A benchmark of one's own.

    Attributes:
        benchmark: It.
        notes: How the csv was read, a line each.
        warnings: What makes its numbers less than they seem, a sentence each.
    """

    benchmark: Benchmark
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def own_benchmark(
    path: Path,
    name: str,
    frames: int,
    bins: Bins | None = None,
    fractions: Sequence[Fraction] = FRACTIONS,
    separator: str | None = None,
) -> OwnBenchmark:
    """Make a benchmark of a labels.csv.

    Args:
        path: The csv, as `read_labels` takes it.
        name: The benchmark's name.
        frames: T, frames per video.
        bins: Bounds of head, medium and tail; None for thirds of the classes.
        fractions: Of train, val and test where the csv names no splits.
        separator: What stands between two labels; guessed where it is left out.

    Raises:
        DataError: As `read_labels`; or a split is empty, or a label is never in train.
    """
    table = read_labels(path, separator)
    splits: Splits
    if table.splits is None:
        splits = stratify(table.videos, len(table.classes), fractions)
    else:
        rows = list(zip(table.videos, table.splits, strict=True))
        splits = {split: [video for video, at in rows if at == split] for split in SPLITS}
    _check(table, splits, path)
    counts = class_counts((video.labels for video in splits["train"]), len(table.classes))
    benchmark = Benchmark(
        name=name,
        title=name,
        classes=table.classes,
        splits={split: tuple(splits[split]) for split in SPLITS},
        bins=Bins.thirds(counts) if bins is None else bins,
        frames=frames,
    )
    warnings = (_groups_on_two_sides(splits), _few_positives(benchmark))
    return OwnBenchmark(benchmark, tuple(_notes(table, splits)), tuple(filter(None, warnings)))


def _check(table: LabelCsv, splits: Splits, path: Path) -> None:
    """Refuse splits of which one is empty, or a class that train lacks."""
    empty = [split for split in SPLITS if not splits[split]]
    groups = {video.subject for video in table.videos} - {None}
    if empty and groups and table.splits is None:
        held = Counter(
            c for _, c in {(v.subject or v.id, c) for v in table.videos for c in v.labels}
        )
        alone = [name for number, name in enumerate(table.classes) if held[number] == 1]
        why = f", and train needs {listing(alone, 3)}, of one group each" if alone else ""
        raise DataError(
            f"{path}: the {len(groups)} groups leave {' and '.join(empty)} empty, for each stays "
            f"on one side{why}; make more and smaller groups, or say the splits in a column 'split'"
        )
    if empty:
        raise DataError(
            f"{path}: {len(table.videos)} videos leave {empty[0]} empty; every split needs one"
        )
    counts = class_counts((video.labels for video in splits["train"]), len(table.classes))
    for label in (counts == 0).nonzero()[0]:
        raise DataError(
            f"{path}: label {table.classes[label]!r} is never in train, so that nothing can learn "
            "it; move a video with it there, or drop the label"
        )


def _notes(table: LabelCsv, splits: Splits) -> list[str]:
    apart = "one a video" if table.separator is None else f"separated by {table.separator!r}"
    notes = [f"labels: {apart}; {len(table.classes)} classes: {listing(table.classes)}"]
    bare = {split: sum(not video.labels for video in splits[split]) for split in SPLITS}
    if total := sum(bare.values()):
        where = ", ".join(f"{split} {count}" for split, count in bare.items())
        notes.append(f"without labels: {total} videos, kept as negatives of every class ({where})")
    sizes = Counter(video.subject for video in table.videos if video.subject is not None)
    if sizes:
        in_split = {split: {v.subject for v in splits[split]} - {None} for split in SPLITS}
        where = ", ".join(f"{split} {len(groups)}" for split, groups in in_split.items())
        alone = len(table.videos) - sizes.total()
        others = f"; {alone} videos are in none" if alone else ""
        notes.append(
            f"groups: {len(sizes)}, of {min(sizes.values())} to {max(sizes.values())} videos "
            f"({where}){others}"
        )
    return notes


def _groups_on_two_sides(splits: Splits) -> str:
    """A sentence where the given splits divide groups, or nothing."""
    sides: dict[str, list[str]] = {}
    for split in SPLITS:
        for group in {video.subject for video in splits[split] if video.subject is not None}:
            sides.setdefault(group, []).append(split)
    both = sorted(group for group, found in sides.items() if len(found) > 1)
    if not both:
        return ""
    return (
        f"{len(both)} of {len(sides)} groups are on more than one side of the given split, such "
        f"as {both[0]!r} in {' and '.join(sides[both[0]])}: what training learns of them flatters "
        "the test; leave the column 'split' out to have groups kept together"
    )


def _few_positives(benchmark: Benchmark) -> str:
    """A sentence where bins have few positives in test, or classes that have none; or nothing."""
    counts = benchmark.counts_in("test")
    thin = []
    for name in GROUPS:
        index = benchmark.groups[name]
        total = int(counts[index].sum())
        none = [repr(benchmark.classes[number]) for number in index if counts[number] == 0]
        if len(index) and (total < FEW or none):
            lacking = f", none of {listing(none, 3)}" if none else ""
            thin.append(f"{name} has {total} for {len(index)} classes{lacking}")
    if not thin:
        return ""
    return (
        f"few positives in test: {'; '.join(thin)}: such a bin says little of a method; a larger "
        "test list, or other --bins, would say more"
    )
