"""Time of a training step with each loss, over plain's on the same batch and network, in turn.

Videos have one frame: the network is as small as it gets, and the loss's share as large.
"""

import statistics
import time

import numpy as np
import torch

from meid_bench.methods.aggregators import NonlinearConfig, aggregator_maker
from meid_bench.methods.method import Batch, Task
from meid_bench.methods.registry import find_method, registered
from meid_bench.methods.trainable import training_mode
from meid_bench.training.epoch import Stepper

BASE = "plain"
LABELS = 5  # about so many a video


def loss_steps(
    batch: int, classes: int, width: int, rounds: int, device: torch.device, bfloat16: bool
) -> list[list[str]]:
    """A row a loss: its step in milliseconds, and over plain's, median and range of the rounds."""
    names = [name for name in registered() if find_method(name).family == "loss" and name != BASE]
    steppers = {name: stepper(name, classes, width, device, bfloat16) for name in [BASE, *names]}
    some = made_up_batch(batch, classes, width, device)
    times: dict[str, list[float]] = {name: [] for name in names}
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names:
            first, second = (seconds(steppers[it], some, device) for it in (BASE, name))
            if turn:  # the first one warms up
                times[name].append(second)
                ratios[name].append(second / first)
    return [
        [
            name,
            f"{1e3 * statistics.median(times[name]):.1f}",
            f"{statistics.median(found):.2f} ({min(found):.2f}..{max(found):.2f})",
        ]
        for name, found in ratios.items()
    ]


def made_up_batch(videos: int, classes: int, width: int, device: torch.device) -> Batch:
    """Random features of one frame, and long-tailed labels."""
    random = np.random.default_rng(0)
    chance = np.geomspace(1, 0.001, classes)
    rows = random.random((videos, classes)) < chance * LABELS / chance.sum()
    features = random.standard_normal((videos, 1, width), dtype=np.float32)
    labels = torch.from_numpy(rows.astype(np.float32)).to(device)
    return Batch(torch.from_numpy(features).to(device), labels, None, torch.Generator(device))


def stepper(name: str, classes: int, width: int, device: torch.device, bfloat16: bool) -> Stepper:
    """A method at its first stage, with fresh weights and the Nonlinear aggregator."""
    counts = tuple(int(n) for n in np.geomspace(2000, 5, classes))
    thirds = np.array_split(np.arange(classes), 3)
    groups = dict(
        zip(("head", "medium", "tail"), (tuple(map(int, t)) for t in thirds), strict=True)
    )
    torch.manual_seed(0)
    kind = find_method(name)
    make = aggregator_maker("nonlinear", NonlinearConfig(), 1)
    method = kind(Task(width, counts, groups, 1, 50_000), kind.Config(), make).to(device)
    (stage,) = method.stages()
    method.begin_stage(stage)
    found = Stepper(method, stage, device, 20.0, bfloat16)
    found.set_rate(0)  # over and over on one batch a network becomes so sure that its numbers slow
    return found


def seconds(one: Stepper, some: Batch, device: torch.device) -> float:
    """Wall time of a step, late enough in training that what begins later has begun."""
    training_mode(one.method)
    started = time.perf_counter()
    one.step(some, one.stage.epochs - 1)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
