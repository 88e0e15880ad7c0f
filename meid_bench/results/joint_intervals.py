"""Joint intervals: which of several methods differ, at 5 % for all their pairs together; pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from meid_bench.results.bootstrap import Resampled

CONFIDENCE = 0.95
# Differences of mAP below it are rounding: scores are kept as float32.
ROUNDING = 1e-7
# Two rows of nearly one mAP have no slope of their own.
SMALLEST_SLOPE = 0.8


@dataclass(frozen=True, slots=True)
class ConfidenceInterval:
    """A difference on the full data, its interval, and the p-value of "no difference".

    Unless nothing moves the difference at all, which says nothing, p is at most 5 % exactly where
    the interval leaves out zero.
    """

    difference: float
    low: float
    high: float
    p: float

    @property
    def differs(self) -> bool:
        """Whether chance alone, at 5 %, would not do it."""
        return self.p <= 1 - CONFIDENCE


class Joint:
    """Every pair of some methods in one measure, with intervals that hold together.

    Two things move a method's mean over seeds: the videos of the test list, and the seeds.

    Videos: a pair's difference d on the full data has resampled ones of mean m and deviation v.
    Repeated videos draw these towards zero, nearly all in one proportion, the slope of m on d over
    all pairs; v is drawn in with them, so that m belongs to v, and d does not. v^2 is multiplied by
    G / (G - 1), the clusters being G.

    Seeds: too few to be resampled (of two, every other resample has one twice). A method's mean is
    moved by a normal number of variance u = s^2 / n, where s^2 is the larger of its own variance
    over its n seeds and of all methods' together; a method of one seed has the latter.

    The statistic of a pair is m / e with e^2 = v^2 + u + u'. The largest statistic of chance alone
    over *all* pairs, resample by resample, says how far the most extreme of them gets; what v and
    s are themselves worth is drawn too, from G - 1 and from the seeds' degrees of freedom
    (Student's t). Its 95 % quantile c makes every interval, m -+ c e, over the slope. So it does
    not matter which rows are looked at, or that the best was chosen on the same data: in 95 % of
    boards no interval of two equal methods leaves out zero.

    Args:
        resampled: The methods. Neither their order nor their other measures move a number.
        measure: One of its measures.

    Reference: Westfall and Young, Resampling-based Multiple Testing (1993), chapter 2 (the largest
        statistic over resamples); all pairs of means: Tukey's studentized range, which this is
        where seeds alone matter; resampling whole clusters: Field and Welsh, Bootstrapping
        clustered data (JRSS B, 2007). tools/simulate_marks.py measures level and power.
    """

    def __init__(self, resampled: Resampled, measure: str) -> None:
        column = resampled.measures.index(measure)
        self.names = tuple(sorted(resampled.means))
        runs = [resampled.runs[name][:, column] for name in self.names]
        drawn = np.stack([resampled.means[name][:, column] for name in self.names])
        drawn = drawn[:, ~np.isnan(drawn).any(axis=0)]
        self.resamples = drawn.shape[1] if resampled.clusters > 1 else 0
        if not self.resamples:
            return
        self._full = np.array([of_seeds.mean() for of_seeds in runs])
        self._mean = drawn.mean(axis=1)
        freedom = resampled.clusters - 1
        by_videos = (drawn - self._mean[:, None]) * np.sqrt(1 + 1 / freedom)
        variance, by_seeds = seed_draws(self.names, runs, self.resamples)
        # Half of what a pair's deviation is worth comes from each of its methods.
        worth = np.stack(
            [_rng(n, "videos").chisquare(freedom / 2, self.resamples) for n in self.names]
        )
        self._deviation, self._largest = _largest(by_videos, worth / freedom, by_seeds, variance)

    @property
    def factor(self) -> float:
        """c: how many deviations wide each half of an interval is."""
        return float(self._largest[ceil(CONFIDENCE * (self.resamples + 1)) - 1])

    @property
    def slope(self) -> float:
        """In which proportion resampled differences are the full data's, over all pairs."""
        centred = self._full - self._full.mean()
        size = float(centred @ centred)
        return min(max(float(centred @ self._mean) / size, SMALLEST_SLOPE), 1.0) if size else 1.0

    def interval(self, first: str, second: str) -> ConfidenceInterval | None:
        """The difference `first` - `second`; None where the measure is not defined."""
        i, j = self.names.index(first), self.names.index(second)
        if not self.resamples:
            return None
        difference, mean = self._full[i] - self._full[j], self._mean[i] - self._mean[j]
        deviation = self._deviation[i, j]
        half = self.factor * deviation
        reached = abs(mean) / deviation if deviation > ROUNDING else 0.0
        above = self.resamples - np.searchsorted(self._largest, reached, side="left")
        p = (above + 1) / (self.resamples + 1)
        low, high = (mean - half) / self.slope, (mean + half) / self.slope
        return ConfidenceInterval(float(difference), float(low), float(high), float(p))


def seed_draws(
    names: Sequence[str], runs: Sequence[NDArray[np.float64]], resamples: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far other seeds may move the mean of each of k methods over its seeds.

    Args:
        names: Of the methods; the draws of one depend on its own name alone.
        runs: Of each method, a measure's value for each of its seeds.
        resamples: R.

    Returns:
        The variance of each method's mean, (k,), and draws of how it is moved, (k, R); zeros where
        no method has two seeds.
    """
    number = np.array([len(of_seeds) for of_seeds in runs])
    freedom = int((number - 1).sum())
    if freedom == 0:  # one seed each: nothing is known of others
        return np.zeros(len(runs)), np.zeros((len(runs), resamples))
    squares = number * np.array([of_seeds.var() for of_seeds in runs])
    own = squares / np.maximum(number - 1, 1)
    variance = np.maximum(own, squares.sum() / freedom) / number
    normal = np.stack([_rng(name, "seeds").normal(size=resamples) for name in names])
    worth = np.random.default_rng(0).chisquare(freedom, resamples) / freedom
    return variance, np.sqrt(variance[:, None] / worth) * normal


def _rng(name: str, use: str) -> np.random.Generator:
    """Random numbers of a method's own, whatever other methods there are."""
    digest = hashlib.sha256(f"{use} of {name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _largest(
    by_videos: NDArray[np.float64],
    worth: NDArray[np.float64],
    by_seeds: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every pair's deviation e, (k, k), and each resample's largest statistic, (R,), sorted.

    Args:
        by_videos: How each resample's videos move a method, (k, R).
        worth: What v^2 may be estimated as over what it is: the sum over a pair, (k, R).
        by_seeds: How seeds may move a method, (k, R).
        variance: Of each method's mean over seeds, (k,).
    """
    number = len(by_videos)
    deviation = np.zeros((number, number))
    largest = np.zeros(by_videos.shape[1])
    for i in range(number - 1):
        v2 = np.mean((by_videos[i] - by_videos[i + 1 :]) ** 2, axis=1)
        deviation[i, i + 1 :] = np.sqrt(v2 + variance[i] + variance[i + 1 :])
        pairs = np.flatnonzero(deviation[i] > ROUNDING)
        if len(pairs):
            apart = (by_videos[i] - by_videos[pairs]) / np.sqrt(worth[i] + worth[pairs])
            apart = np.abs(apart + by_seeds[i] - by_seeds[pairs]) / deviation[i, pairs, None]
            np.maximum(largest, apart.max(axis=0), out=largest)
    return deviation + deviation.T, np.sort(largest)
