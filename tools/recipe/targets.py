"""What a split must reach, and by how much one misses it; pure, in whole numbers and fractions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import SPLITS
from meid_bench.benchmark.longtail import GROUPS, Bins, class_counts
from meid_bench.codec import decode
from meid_bench.errors import DataError

SIDES = ("val", "test")
KEYS = ("subject", "script", "pair")  # what two splits must not share


@dataclass(frozen=True)
class Targets:
    """What a split must reach, all of it exactly.

    Attributes:
        sizes: Videos of "train", "val" and "test".
        bins: Bounds of head, medium and tail by training count.
        groups: Classes of "head", "medium" and "tail".
        imbalance_ratio: Largest over smallest training count, as printed, such as "61.8".
        labels_per_training_video: Mean labels of a training video, as printed, such as "6.9".
        min_positives: Fewest videos of every class in "val" and in "test".
        min_tau: Least rank correlation (Kendall's tau-b) of the class counts of train with
            those of all labelled training videos, such as "0.90".
        seed: Any string; another one gives another split with the same statistics.
    """

    sizes: Mapping[str, int]
    bins: Bins
    groups: Mapping[str, int]
    imbalance_ratio: str
    labels_per_training_video: str
    min_positives: Mapping[str, int]
    min_tau: str
    seed: str

    def __post_init__(self) -> None:
        """Refuse what cannot be a target."""
        for name, keys, least in (
            ("sizes", SPLITS, 1),
            ("groups", GROUPS, 0),
            ("min_positives", SIDES, 0),
        ):
            values = getattr(self, name)
            if set(values) != set(keys) or min(values.values()) < least:
                raise ValueError(
                    f"{name} must hold integers from {least} for {', '.join(keys)}, not {values}"
                )
        for name in ("imbalance_ratio", "labels_per_training_video", "min_tau"):
            try:
                Fraction(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name} must be a number as it is printed: {error}") from error

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Targets":
        """Read targets as JSON holds them: one key for each attribute.

        Raises:
            DataError: A key is unknown or missing, or a value is not what it should be.
        """
        try:
            return decode(cls, dict(data))
        except ValueError as error:
            raise DataError(f"The targets do not do ({error}); mend their file") from error


def printed(text: str, more_digits: int = 0) -> tuple[Fraction, Fraction]:
    """The open interval of the numbers that print as `text`, however halves are rounded.

    With `more_digits`, of those that print so with as many zeros appended.

    Example:
        >>> printed("6.9")
        (Fraction(137, 20), Fraction(139, 20))
    """
    half = Fraction(1, 2 * 10 ** (len(text.partition(".")[2]) + more_digits))
    return Fraction(text) - half, Fraction(text) + half


@dataclass(frozen=True, slots=True)
class Tau:
    """Kendall's tau-b as whole numbers: concordance / sqrt(pairs of a * pairs of b).

    Reference:
        Kendall, "The treatment of ties in ranking problems", Biometrika 1945; the form that
        `scipy.stats.kendalltau` computes.
    """

    concordance: int
    pairs_a: int
    pairs_b: int

    @classmethod
    def of(cls, a: NDArray[np.int64], b: NDArray[np.int64]) -> "Tau":
        """Compare two rankings of the same C classes, counts (C,) each."""
        of_a, of_b = np.sign(a[:, None] - a[None, :]), np.sign(b[:, None] - b[None, :])
        upper = np.triu_indices(len(a), k=1)
        product = (of_a * of_b)[upper]
        return cls(int(product.sum()), int((of_a[upper] != 0).sum()), int((of_b[upper] != 0).sum()))

    def at_least(self, bound: Fraction) -> bool:
        """Whether tau-b >= bound, for a bound in [0, 1], without a root."""
        pairs = self.pairs_a * self.pairs_b
        return pairs > 0 and self.concordance >= 0 and self.concordance**2 >= bound**2 * pairs

    def __float__(self) -> float:
        """Tau-b in [-1, 1], rounded down to six places; NaN where a ranking is all ties."""
        pairs = self.pairs_a * self.pairs_b
        if not pairs:
            return float("nan")
        root = isqrt(10**24 * self.concordance**2 // pairs) // 10**6
        return (root if self.concordance >= 0 else -root) / 10**6


def shortfalls(
    splits: Mapping[str, Sequence[Annotation]], pool_counts: NDArray[np.int64], targets: Targets
) -> list[str]:
    """Name every target that a split misses, and by how much.

    Args:
        splits: The videos of "train", "val" and "test".
        pool_counts: Labelled training videos per class that train was chosen from, (C,).
        targets: What was wanted.

    Returns:
        A clause for each; empty where all is met exactly.
    """
    counts = {
        name: class_counts((video.labels for video in splits[name]), len(pool_counts))
        for name in SPLITS
    }
    return [
        *_sizes(splits, targets),
        *train_shortfalls(counts["train"], len(splits["train"]), pool_counts, targets),
        *_positives(counts, targets),
        *_shared(splits),
    ]


def _sizes(splits: Mapping[str, Sequence[Annotation]], targets: Targets) -> list[str]:
    return [
        f"{name} has {len(splits[name])} videos, wanted {targets.sizes[name]}"
        for name in SPLITS
        if len(splits[name]) != targets.sizes[name]
    ]


def train_shortfalls(
    counts: NDArray[np.int64], size: int, pool_counts: NDArray[np.int64], targets: Targets
) -> list[str]:
    """Name every target that the class counts (C,) of `size` training videos miss."""
    missed = []
    for group, classes in targets.bins.groups(counts).items():
        if len(classes) != targets.groups[group]:
            missed.append(f"{group} has {len(classes)} classes, wanted {targets.groups[group]}")
    for what, numerator, denominator, wanted in (
        ("imbalance ratio", int(counts.max()), int(counts.min()), targets.imbalance_ratio),
        ("labels per training video", int(counts.sum()), size, targets.labels_per_training_video),
    ):
        low, high = printed(wanted)
        if not low * denominator < numerator < high * denominator:
            got = f"{numerator / denominator:.3f}" if denominator else "undefined"
            missed.append(f"{what} is {got} ({numerator} / {denominator}), wanted {wanted}")
    tau = Tau.of(counts, pool_counts)
    if not tau.at_least(Fraction(targets.min_tau)):
        missed.append(
            f"Kendall's tau of the class counts with the pool's is {float(tau):.4f}, "
            f"wanted at least {targets.min_tau}"
        )
    return missed


def _positives(counts: Mapping[str, NDArray[np.int64]], targets: Targets) -> list[str]:
    missed = []
    for side in SIDES:
        least = targets.min_positives[side]
        short = np.flatnonzero(counts[side] < least)
        if len(short):
            named = ", ".join(f"c{label:03d} ({counts[side][label]})" for label in short[:8])
            more = f" and {len(short) - 8} more" if len(short) > 8 else ""
            missed.append(f"{side} has fewer than {least} positives of {named}{more}")
    return missed


def _shared(splits: Mapping[str, Sequence[Annotation]]) -> list[str]:
    missed = []
    for one, other in combinations(SPLITS, 2):
        for key in ("id", *KEYS):
            both = {getattr(video, key) for video in splits[one]} & {
                getattr(video, key) for video in splits[other]
            }
            if shared := len(both - {None}):
                missed.append(f"{one} and {other} share {shared} {key}{'s' * (shared > 1)}")
    return missed
