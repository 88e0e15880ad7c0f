"""Made records, scores and a small benchmark for the tests of everything that reads results."""

from dataclasses import fields
from typing import Any

import numpy as np

from meid_bench.benchmark.annotation import Annotation, Interval
from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.benchmark.longtail import Bins
from meid_bench.results.metrics import Metrics, evaluate_scores
from meid_bench.results.record import Features, Result, StageResult, Submission

CLASSES = 6


def make_benchmark(videos: int = 60, seed: int = 0, subjects: int | None = 12) -> Benchmark:
    """A benchmark of 6 classes with bins of every kind; labels are drawn, ids are plain."""
    rng = np.random.default_rng(seed)
    rates = np.array([0.7, 0.5, 0.3, 0.2, 0.12, 0.08])
    splits = {}
    for split in ("train", "val", "test"):
        hot = rng.random((videos, CLASSES)) < rates
        hot[np.arange(videos), np.arange(videos) % CLASSES] = True
        splits[split] = tuple(
            Annotation(
                id=f"{split}{i:03d}",
                labels=tuple(np.flatnonzero(row).tolist()),
                intervals=tuple(Interval(int(c), 1.0, 4.0 + c) for c in np.flatnonzero(row)),
                subject=None if subjects is None else f"S{i % subjects:02d}",
                length=12.0,
            )
            for i, row in enumerate(hot)
        )
    return Benchmark(
        name="toy",
        title="Toy, made",
        classes=tuple(f"class {c}" for c in range(CLASSES)),
        splits=splits,
        bins=Bins(17, 30),
        frames=8,
    )


def make_scores(labels: np.ndarray, skill: float, seed: int = 0) -> np.ndarray:
    """Scores in [0, 1], (N, C) float32, better with more skill."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=labels.shape) + skill * labels
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def make_metrics(seed: int = 0) -> Metrics:
    """Metrics of drawn scores over drawn labels."""
    rng = np.random.default_rng(seed)
    labels = rng.random((40, CLASSES)) < 0.3
    groups = {"head": np.array([0, 1]), "medium": np.array([2, 3]), "tail": np.array([4, 5])}
    return evaluate_scores(make_scores(labels, 1.0, seed), labels, groups)


def make_result(seed: int = 0, **changes: Any) -> Result:
    """A finished run's record; every key may be changed."""
    metrics = make_metrics(seed)
    values: dict[str, Any] = {
        "schema": 1,
        "benchmark": "toy",
        "title": "Toy, made",
        "benchmark_fingerprint": "b" * 64,
        "features": Features("store", "f" * 64, "resnet101", "IMAGENET1K_V1", 8, False, False),
        "method": "plain",
        "aggregator": "nextvlad",
        "network": "own",
        "preset": None,
        "protocol": "paper",
        "settings": {"gamma": 1.0, "batch": 128},
        "changed": (),
        "code": "d" * 64,
        "seed": seed,
        "val": metrics,
        "test": metrics,
        "last_epoch_val": metrics,
        "last_epoch_test": metrics,
        "evaluator": 1,
        "selected_on": "val",
        "epoch": 7,
        "stages": (StageResult("train", 10, 7, metrics.overall),),
        "epochs": 10,
        "parameters": 1234,
        "missing": {},
        "quick": False,
        "trials": (),
        "warnings": (),
        "diagnostics": {},
        "environment": {"python": "3.12", "torch": "2", "device": "cpu", "threads": 1},
        "version": "0.1.0",
        "commit": "c" * 40,
        "seconds": 1.5,
        "date": "2026-01-01T00:00:00+00:00",
    }
    assert not set(changes) - set(values)
    return Result(**(values | changes))


def make_submission(name: str = "theirs", **changes: Any) -> Submission:
    """A submission's record; every key may be changed."""
    run = make_result()
    shared = {key.name: getattr(run, key.name) for key in fields(Submission)}
    return Submission(**(shared | {"method": name} | changes))
