"""fit(): the same numbers after a kill, in every cache mode, and nearly the same in bfloat16."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from meid_bench.checkpoint import Checkpoint
from meid_bench.method import Method
from meid_bench.plugins import registered
from meid_bench.results import CurvePoint
from meid_bench.train import Fit, RunnerConfig, Training, fit, point_scores
from tests.small_methods import toy_method
from tests.toy import BINS, TASK, toy_examples


def build(name: str, aggregator: str = "nonlinear", **settings: object) -> Method:
    """A registered method on the toy task, of three epochs a stage."""
    return toy_method(name, aggregator, {"epochs": 3, "milestones": (2,)} | settings)


def training(method: Method, **changes: object) -> Training:
    """What the tests train: 47 videos of 8 frames, 6 of them drawn, in batches of 16."""
    val = toy_examples(24, seed=2)
    base = Training(
        method=method,
        train=toy_examples(47),
        val=val,
        val_scores=point_scores(val.labels, BINS.groups(np.array(TASK.counts))),
        config=RunnerConfig(batch=16, training_frames=6),
        seed=3,
        log=lambda point: None,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def same(a: Fit, b: Fit) -> bool:
    """Whether two outcomes are equal to the bit."""
    plain = all(getattr(a, n) == getattr(b, n) for n in ("stages", "curve", "warnings"))
    tensors = [(a.best, b.best), (a.last, b.last)]
    return plain and all(
        x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)
        for x, y in tensors
    )


class Killed(Exception):
    """Stands for a kill."""


def killer(after: int) -> Callable[[CurvePoint], None]:
    """A log that ends the process, as it were, with its `after`-th epoch."""
    seen: list[CurvePoint] = []

    def log(point: CurvePoint) -> None:
        seen.append(point)
        if len(seen) == after:
            raise Killed

    return log


@pytest.mark.parametrize("name", sorted(registered()))
@pytest.mark.parametrize("minutes", [0.0, 60.0], ids=["each epoch", "each stage"])
def test_a_killed_training_ends_with_the_same_bits(
    name: str, minutes: float, tmp_path: Path
) -> None:
    aggregator = "nextvlad" if name == "meid" else "nonlinear"
    whole = fit(training(build(name, aggregator)))
    epochs = len(whole.curve)
    random = np.random.default_rng(len(name))
    first, second = sorted(random.choice(np.arange(1, epochs + 1), 2, replace=False))
    path = tmp_path / "checkpoint.safetensors"
    for after in (first, second):
        with pytest.raises(Killed):
            checkpoint = Checkpoint(path, minutes, "here")
            done = checkpoint.progress()
            left = after - (len(done.curve) if done else 0)
            fit(training(build(name, aggregator), log=killer(left), checkpoint=checkpoint))
    resumed = fit(training(build(name, aggregator), checkpoint=Checkpoint(path, minutes, "here")))
    assert same(whole, resumed)
    again = fit(training(build(name, aggregator), checkpoint=Checkpoint(path, minutes, "here")))
    assert same(whole, again)  # killed after training, before the record
