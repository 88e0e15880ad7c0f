"""Run: load -> fit -> predict -> score -> Result; one method, one seed."""

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench import distributed
from meid_bench.codec import json_line
from meid_bench.device import make_current
from meid_bench.distributed import find_ranks
from meid_bench.errors import MethodError
from meid_bench.features.joined_manifest import save_joined_manifest
from meid_bench.features.manifest import MANIFEST
from meid_bench.files import atomic, locked, write_text
from meid_bench.methods.method import Method
from meid_bench.results.metrics import evaluate_scores
from meid_bench.results.record import (
    CURVE,
    RECORD,
    SCORES,
    VAL_SCORES,
    CurvePoint,
    Result,
    Trial,
    load_result,
    save_record,
    save_scores,
)
from meid_bench.training.cache import Cache, fitting_batch, no_room, with_room
from meid_bench.training.checkpoint import Checkpoint, Fit
from meid_bench.training.data import Examples, feature_bytes, load_examples
from meid_bench.training.execution import Execution, arithmetic
from meid_bench.training.explain import attention_diagnostics
from meid_bench.training.fit import Training, fit, point_scores
from meid_bench.training.model import MODEL, WEIGHTS, build_method, save_model
from meid_bench.training.request import Plan
from meid_bench.training.run_record import Scored, environment, made_with, record_of
from meid_bench.training.scoring import predict_scores
from meid_bench.training.watching import curve_file

RUN_LOCK = ".lock"  # held while a run is trained; released by the system after a kill


def run(
    plan: Plan,
    device: torch.device,
    log: Callable[[CurvePoint], None] = lambda point: None,
    execution: Execution = Execution(),  # noqa: B008  # frozen
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Train, score and record; a finished run's record is read, an unfinished run is continued.

    Within a process group every rank calls it; the first one writes. `log` takes each epoch's point
    of the learning curve, `say` a sentence on what was chosen.

    Raises:
        MeidBenchError: The method breaks its contract, the features cannot be read, or a step has
            no room.
    """
    if distributed.from_first(plan.finished):
        Checkpoint(plan.folder).remove()
        return distributed.from_first(load_result(plan.folder))
    if plan.trials:
        return _best_trial(plan, lambda trial: run(trial, device, log, execution, say))
    make_current(device)
    execution = execution.on(device)
    processes = find_ranks().local_size if distributed.size() > 1 else execution.neighbours
    needed = feature_bytes(plan.benchmark, plan.store)

    if plan.capped_batch is not None:
        say(f"Batch: {plan.capped_batch}, all training videos")

    def work(cache: Cache) -> Result:
        say(f"Features: {cache.mode} ({cache.reason})")
        return _run(plan, device, log, execution, cache)

    lock: AbstractContextManager[None] = nullcontext()
    if distributed.rank() == 0:
        lock = locked(plan.folder / RUN_LOCK, "run of the same settings")
    with lock, arithmetic(device, execution.bfloat16, execution.deterministic):
        return with_room(work, execution.cache, needed, device, processes)


def _best_trial(plan: Plan, run_trial: Callable[[Plan], Result]) -> Result:
    """Run every trial of the plan; returns the record of the best on val, the first of equals.

    Each trial has a folder of its own within the run's, so that a second call goes on where an
    earlier one ended; they are removed once the record is there.
    """
    results = [run_trial(trial) for trial in plan.runs]
    if distributed.rank() > 0:
        given: Result = distributed.from_first(None)
        return given
    reached = [result.val.overall for result in results]
    chosen = reached.index(max(reached))
    (plan.folder / RECORD).unlink(missing_ok=True)  # --again: it is not of the new files
    for name in (WEIGHTS, MODEL, MANIFEST, SCORES, VAL_SCORES, CURVE):
        with atomic(plan.folder / name) as temporary:
            shutil.copyfile(plan.trial(chosen).folder / name, temporary)
    result = replace(
        results[chosen],
        settings=plan.settings,
        trials=tuple(map(Trial, plan.trials, reached)),
        seconds=sum(result.seconds for result in results),
    )
    save_record(result, plan.folder)
    for trial in plan.runs:
        shutil.rmtree(trial.folder)
    return distributed.from_first(result)


def _run(
    plan: Plan,
    device: torch.device,
    log: Callable[[CurvePoint], None],
    execution: Execution,
    cache: Cache,
) -> Result:
    started = time.perf_counter()
    splits = {
        split: load_examples(plan.benchmark, plan.store, split, device, cache.mode)
        for split in ("train", "val", "test")
    }
    method = _fresh(plan, device)
    state = _fit(plan, method, splits, log, execution, cache)
    method.load_state_dict(state.last)
    last = _score(plan, method, splits)
    method.load_state_dict(state.best)
    best = _score(plan, method, splits)
    state.diagnostics |= attention_diagnostics(
        method, splits["test"], plan.benchmark, plan.store.times, plan.runner.batch
    )
    parameters = sum(parameter.numel() for parameter in method.parameters())
    computed = environment(device, execution, cache)
    seconds = time.perf_counter() - started
    result = record_of(plan, state, best, last, parameters, computed, seconds)
    if distributed.rank() == 0:
        save_model(plan.model, state.best, plan.folder)
        (plan.folder / RECORD).unlink(missing_ok=True)  # --again: it is not of the new files
        write_text(plan.folder / CURVE, "".join(map(json_line, state.curve)))
        save_joined_manifest(plan.folder, plan.store.manifest)
        for split, name in (("val", VAL_SCORES), ("test", SCORES)):
            save_scores(plan.folder, plan.benchmark.ids(split), best.scores[split], name)
        save_record(result, plan.folder)
        Checkpoint(plan.folder).remove()
    return distributed.from_first(result)


def _fresh(plan: Plan, device: torch.device) -> Method:
    torch.manual_seed(plan.request.seed)
    return build_method(plan.model).to(device)


def _fit(
    plan: Plan,
    method: Method,
    splits: Mapping[str, Examples],
    log: Callable[[CurvePoint], None],
    execution: Execution,
    cache: Cache,
) -> Fit:
    train, val = splits["train"], splits["val"]
    how = made_with(train.device, execution)
    checkpoint = Checkpoint(plan.folder, execution.checkpoint_minutes, how)
    # A video without features scores 0, so that every row is over the same ids.
    score = point_scores(plan.benchmark.labels("val"), plan.benchmark.groups)
    with curve_file(plan.folder, checkpoint, log) as record:
        training = Training(
            method=method,
            train=train,
            val=val,
            val_scores=lambda scores: score(_over_all(plan, "val", val, scores)),
            config=plan.runner,
            seed=plan.request.seed,
            log=record,
            checkpoint=checkpoint,
            bfloat16=execution.bfloat16,
            compile=execution.compile,
        )
        try:
            return fit(training)
        except torch.OutOfMemoryError:
            if cache.mode == "device" and execution.cache == "auto":
                raise  # the features make room first
    method.to("cpu")
    fits = None  # ranks cannot try together: another may have had room
    if distributed.size() == 1:
        fits = fitting_batch(
            lambda: _fresh(plan, train.device), train, plan.runner, execution.bfloat16
        )
    raise no_room(plan.runner.batch, fits, train.device)


def _score(plan: Plan, method: Method, splits: Mapping[str, Examples]) -> Scored:
    metrics, scores = {}, {}
    for split in ("val", "test"):
        found = predict_scores(method, splits[split], plan.runner.batch)
        scores[split] = _over_all(plan, split, splits[split], found)
        views = [video.view for video in plan.benchmark.splits[split]]
        try:
            metrics[split] = evaluate_scores(
                scores[split], plan.benchmark.labels(split), plan.benchmark.groups, views
            )
        except ValueError as error:
            raise MethodError(f"{plan.request.method}, {split}: {error}") from error
    return Scored(metrics["val"], metrics["test"], scores)


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
