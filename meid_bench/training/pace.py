"""Pace: how long a run will take, from a few steps of it on this machine."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from meid_bench.device import make_current
from meid_bench.methods.samplers import EpochSampler, batches
from meid_bench.training.cache import choose_cache, no_room
from meid_bench.training.data import feature_bytes, load_examples
from meid_bench.training.diagnostics import diagnose
from meid_bench.training.epoch import Stepper, seeded, train_epoch
from meid_bench.training.execution import Execution, arithmetic
from meid_bench.training.model import build_method
from meid_bench.training.request import Plan
from meid_bench.training.scoring import predict_scores

TIMED_CALLS, TIMED_SECONDS = 3, 2.0  # so many are timed, or as many as begin in that time


def run_seconds(plan: Plan, device: torch.device, execution: Execution) -> float:
    """Seconds that a run will take: its steps and its scoring of val and test.

    Each stage takes a step that is not counted and a few that are, as its last epoch would, on
    the features of one batch of training videos. Reading features into memory, and AP, are not
    counted. No record is written.

    Raises:
        MeidBenchError: A step has no room, or the method breaks its contract.
    """
    make_current(device)
    try:
        return _measured(plan, device, execution.on(device))
    except torch.OutOfMemoryError as error:
        raise no_room(plan.runner.batch, None, device) from error


def _measured(plan: Plan, device: torch.device, execution: Execution) -> float:
    needed = feature_bytes(plan.benchmark, plan.store)
    cache = choose_cache(execution.cache, needed, device, execution.neighbours).mode
    most = plan.runner.batch
    train = load_examples(plan.benchmark, plan.store, "train", device, cache, most)
    config, seed = plan.runner, plan.request.seed
    videos = {split: len(plan.benchmark.splits[split]) for split in ("train", "val", "test")}
    steps = len(batches(videos["train"], config.batch))
    total = score = 0.0
    with arithmetic(device, execution.bfloat16, execution.deterministic):
        method = build_method(plan.model).to(device)
        for number, stage in enumerate(method.stages()):
            method.begin_stage(stage)
            stepper = Stepper(method, stage, device, config.clip, execution.bfloat16)
            last = stage.epochs - 1
            draws = EpochSampler(train.labels, stage.sampler).draw(seed, number, last)
            random = seeded(seed, number, last, device)
            step = _seconds(partial(train_epoch, stepper, train, draws, random, last, config))
            check = _seconds(partial(diagnose, method, stage, train, config, seed))
            score = _seconds(partial(predict_scores, method, train, config.batch)) / len(train)
            total += stage.epochs * (steps * step + check + videos["val"] * score)
    total += 2 * (videos["val"] + videos["test"]) * score  # the best epoch, and the last
    return total * len(plan.runs)


def _seconds(work: Callable[[], object]) -> float:
    """Of a call, which waits for the device; a first one is not counted."""
    work()
    times: list[float] = []
    while len(times) < TIMED_CALLS and sum(times) < TIMED_SECONDS:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return float(np.median(times))
