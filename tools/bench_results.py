"""Measure AP at VideoLT's size against the argsort version, and the paired bootstrap.

    python tools/bench_results.py [--videos 51239] [--classes 1004] [--rounds 3]

Interleaved, medians of the rounds. "One core" restricts this process to one core for both.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
from field_loop import argsort_ap
from numpy.typing import NDArray

from meid_bench.cores import cores
from meid_bench.results.bootstrap import resample
from meid_bench.results.joint_intervals import Joint
from meid_bench.results.metrics import average_precision


def seconds(call: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def bench_ap(videos: int, classes: int, rounds: int) -> None:
    """Print the ratio on one core and on all of this process's cores."""
    rng = np.random.default_rng(0)
    scores = rng.random((videos, classes), dtype=np.float32)
    labels = (rng.random((videos, classes)) < 1.1 / classes).astype(np.uint8)
    everything = os.sched_getaffinity(0)
    slow: list[float] = []
    alone: list[float] = []
    shared: list[float] = []
    for _ in range(rounds):
        os.sched_setaffinity(0, {min(everything)})
        slow.append(seconds(lambda: argsort_ap(scores, labels)))
        alone.append(seconds(lambda: average_precision(scores, labels)))
        os.sched_setaffinity(0, everything)
        shared.append(seconds(lambda: average_precision(scores, labels)))
    agree = np.nanmax(np.abs(argsort_ap(scores, labels) - average_precision(scores, labels)))
    reference, one, several = map(statistics.median, (slow, alone, shared))
    print(f"AP, {videos:,} x {classes:,}, largest difference {agree:.1e}")
    print(f"  argsort, one core       {reference:7.2f} s")
    print(f"  ours, one core          {one:7.2f} s   {reference / one:5.1f} times faster")
    print(f"  ours, {len(everything)} cores           {several:7.2f} s   "
          f"{reference / several:5.1f} times faster")  # fmt: skip


def bench_bootstrap(resamples: int) -> None:
    """Print the time of comparing two methods of three seeds at CharadesLT's size."""
    rng = np.random.default_rng(0)
    videos, classes, subjects = 1012, 157, 49
    rates = np.clip(0.012 * (rng.pareto(1.1, classes) + 1), 0.004, 0.35)
    labels = (rng.random((videos, classes)) < rates).astype(np.uint8)
    order = np.argsort(-labels.sum(axis=0))
    groups = {"head": order[:41], "medium": order[41:122], "tail": order[122:]}
    clusters = np.concatenate([np.arange(subjects), rng.integers(0, subjects, videos - subjects)])

    def made(skill: float) -> NDArray[np.float32]:
        logits = rng.normal(size=labels.shape) + skill * labels
        return (1 / (1 + np.exp(-logits))).astype(np.float32)

    scores = {"a": [made(1.2) for _ in range(3)], "b": [made(1.1) for _ in range(3)]}
    for name, unit in ((f"{subjects} subjects", clusters), (f"{videos} videos", np.arange(videos))):
        start = time.perf_counter()
        drawn = resample(scores, labels, unit, groups, resamples)
        Joint(drawn, "overall").interval("a", "b")
        took = time.perf_counter() - start
        print(f"Bootstrap, 2 methods x 3 seeds, {resamples:,} resamples of {name}: {took:.1f} s")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=51_239)
    parser.add_argument("--classes", type=int, default=1_004)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=2_000)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{platform.processor() or platform.machine()}, {cores()} cores, load {load:.1f}")
    bench_ap(arguments.videos, arguments.classes, arguments.rounds)
    bench_bootstrap(arguments.resamples)


if __name__ == "__main__":
    main()
