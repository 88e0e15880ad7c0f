"""Run: load -> fit -> predict -> score -> Result; one method, one seed."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench import distributed as ranks
from meid_bench.device import make_current
from meid_bench.distributed import find_ranks
from meid_bench.errors import MethodError
from meid_bench.features.manifest import save_manifest
from meid_bench.lock import alone
from meid_bench.methods.method import Method
from meid_bench.results.metrics import evaluate_scores
from meid_bench.results.record import (
    RECORD,
    CurvePoint,
    Result,
    load_result,
    save_record,
    save_scores,
)
from meid_bench.training.cache import Cache
from meid_bench.training.checkpoint import checkpoint_of
from meid_bench.training.curve_file import curve_file
from meid_bench.training.data import Examples, feature_bytes, load_examples
from meid_bench.training.enough import check_batch
from meid_bench.training.execution import Execution, arithmetic, resolve_precision
from meid_bench.training.explain import attention_diagnostics
from meid_bench.training.fit import Fit, Training, fit, point_scores
from meid_bench.training.memory import fitting_batch, no_room, with_room
from meid_bench.training.model import build_method, save_model
from meid_bench.training.request import Plan
from meid_bench.training.run_record import Scored, environment, parameter_count, record_of
from meid_bench.training.scoring import predict
from meid_bench.training.trials import best_trial

LOCK = ".lock"  # held while a run is trained; the system lets go of a killed process's


def run(
    plan: Plan,
    device: torch.device,
    log: Callable[[CurvePoint], None] = lambda point: None,
    execution: Execution = Execution(),  # noqa: B008  # frozen
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Train, score and record; a finished run's record is read, an unfinished run is continued.

    Within a process group every rank calls it; the first one writes.

    Args:
        plan: What to run.
        device: Where.
        log: Takes each epoch's point of the learning curve, for progress.
        execution: How.
        say: Takes sentences on what was chosen.

    Raises:
        MeidBenchError: The method breaks its contract, the features cannot be read, or a step has
            no room.
    """
    if plan.request.again and ranks.rank() == 0:
        (plan.folder / RECORD).unlink(missing_ok=True)  # a checkpoint stays: it is of this time
    if ranks.from_first(plan.finished):
        checkpoint_of(plan.folder).remove()
        return ranks.from_first(load_result(plan.folder))
    if plan.grid:
        return _tried(plan, lambda trial: run(trial, device, log, execution, say))
    make_current(device)
    bfloat16 = resolve_precision(execution.precision, device) == "bfloat16"
    processes = find_ranks().local_size if ranks.size() > 1 else execution.neighbours
    needed = feature_bytes(plan.benchmark, plan.store)

    def work(cache: Cache) -> Result:
        say(f"Features: {cache.mode} ({cache.reason})")
        return _run(plan, device, log, execution, cache)

    lock: AbstractContextManager[None] = nullcontext()  # the first rank's will do
    if ranks.rank() == 0:
        lock = alone(plan.folder / LOCK, "run of the same settings")
    with lock, arithmetic(device, bfloat16, execution.deterministic):
        return with_room(work, execution.cache, needed, device, processes)


def _tried(plan: Plan, run_trial: Callable[[Plan], Result]) -> Result:
    if ranks.rank() == 0:
        return ranks.from_first(best_trial(plan, run_trial))
    for rate in plan.grid:
        run_trial(plan.trial(rate))
    result: Result = ranks.from_first(None)
    return result


def _run(
    plan: Plan,
    device: torch.device,
    log: Callable[[CurvePoint], None],
    execution: Execution,
    cache: Cache,
) -> Result:
    started = time.perf_counter()
    parts = {
        split: load_examples(plan.benchmark, plan.store, split, device, cache.mode)
        for split in ("train", "val", "test")
    }
    check_batch(plan.runner, len(parts["train"]))
    found = environment(device, execution, cache)
    method = _fresh(plan, device)
    outcome = _fit(plan, method, parts, log, execution, found)
    method.load_state_dict(outcome.last)
    last = _score(plan, method, parts)
    method.load_state_dict(outcome.best)
    best = _score(plan, method, parts)
    outcome.diagnostics |= attention_diagnostics(
        method, parts["test"], plan.benchmark, plan.store.times, plan.runner.batch
    )
    seconds = time.perf_counter() - started
    result = record_of(plan, outcome, best, last, parameter_count(method), found, seconds)
    if ranks.rank() == 0:
        save_model(plan.model, outcome.best, plan.folder)
        # How its features were made: what `predict` needs, wherever the folder goes.
        save_manifest(plan.folder, plan.store.manifest)
        save_scores(plan.folder, plan.benchmark.ids("test"), best.test_scores)
        save_record(result, plan.folder)
        checkpoint_of(plan.folder).remove()
    return ranks.from_first(result)


def _fresh(plan: Plan, device: torch.device) -> Method:
    torch.manual_seed(plan.request.seed)
    return build_method(plan.model).to(device)


def _fit(
    plan: Plan,
    method: Method,
    parts: Mapping[str, Examples],
    log: Callable[[CurvePoint], None],
    execution: Execution,
    found: Mapping[str, Any],
) -> Fit:
    device, bfloat16 = parts["train"].device, found["precision"] == "bfloat16"
    computed = {name: found[name] for name in ("device", "precision", "threads", "ranks", "torch")}
    made_with = ", ".join(f"{name} {value}" for name, value in computed.items())
    checkpoint = checkpoint_of(plan.folder, execution.checkpoint_minutes, made_with)
    # A video without features scores 0, so that every row is over the same ids.
    score = point_scores(plan.benchmark.labels("val"), plan.benchmark.groups)
    with curve_file(plan.folder, checkpoint) as write:

        def record(point: CurvePoint) -> None:
            write(point)
            log(point)

        training = Training(
            method=method,
            train=parts["train"],
            val=parts["val"],
            val_scores=lambda scores: score(_over_all(plan, "val", parts["val"], scores)),
            config=plan.runner,
            seed=plan.request.seed,
            log=record,
            checkpoint=checkpoint,
            bfloat16=bfloat16,
            compile=execution.compile,
        )
        try:
            return fit(training)
        except torch.OutOfMemoryError:
            if found["cache"] == "device" and execution.cache == "auto":
                raise  # the features make room first
    method.to("cpu")
    frames, batch = plan.runner.training_frames, plan.runner.batch
    if ranks.size() > 1:  # another rank may have had room: there is no trying together
        raise no_room(batch, None, device)
    fits = fitting_batch(lambda: _fresh(plan, device), parts["train"], batch, frames, bfloat16)
    raise no_room(batch, fits, device)


def _score(plan: Plan, method: Method, parts: Mapping[str, Examples]) -> Scored:
    metrics, scores = {}, {}
    for split in ("val", "test"):
        found = predict(method, parts[split], plan.runner.batch)
        scores[split] = _over_all(plan, split, parts[split], found)
        views = [video.view for video in plan.benchmark.splits[split]]
        try:
            metrics[split] = evaluate_scores(
                scores[split], plan.benchmark.labels(split), plan.benchmark.groups, views
            )
        except ValueError as error:
            raise MethodError(f"{plan.request.method}, {split}: {error}") from error
    return Scored(metrics["val"], metrics["test"], scores["test"])


def _over_all(
    plan: Plan, split: str, examples: Examples, scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    ids = plan.benchmark.ids(split)
    if len(ids) == len(examples):
        return scores
    row = {video: position for position, video in enumerate(ids)}
    full = np.zeros((len(ids), scores.shape[1]), dtype=np.float32)
    full[[row[video] for video in examples.ids]] = scores
    return full
