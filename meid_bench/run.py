"""Run: load -> fit -> predict -> score -> Result; one method, one seed."""

import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench import __version__
from meid_bench.data import Examples, load_examples
from meid_bench.device import describe
from meid_bench.errors import MethodError, SettingError
from meid_bench.features import FeatureStore
from meid_bench.method import Method
from meid_bench.metrics import Metrics, evaluate_scores
from meid_bench.model import build_method, save_model
from meid_bench.predict import predict
from meid_bench.request import Plan
from meid_bench.results import (
    CURVE,
    SCHEMA,
    CurvePoint,
    Features,
    Result,
    curve_line,
    load_result,
    save_result,
    save_scores,
)
from meid_bench.train import Fit, Training, fit, point_scores
from meid_bench.trials import best_trial


def run(
    plan: Plan, device: torch.device, log: Callable[[CurvePoint], None] = lambda point: None
) -> Result:
    """Train, score and record; a finished run's record is read instead.

    Args:
        plan: What to run.
        device: Where.
        log: Takes each epoch's point of the learning curve, for progress.

    Raises:
        MeidBenchError: The method breaks its contract, or the features cannot be read.
    """
    if plan.finished:
        return load_result(plan.folder)
    if plan.grid:
        return best_trial(plan, lambda trial: run(trial, device, log))
    started = time.perf_counter()
    torch.manual_seed(plan.request.seed)
    method = build_method(plan.model).to(device)
    parts = {
        split: load_examples(plan.benchmark, plan.store, split, device)
        for split in ("train", "val", "test")
    }
    if plan.runner.batch > len(parts["train"]):
        raise SettingError(
            f"Setting batch is {plan.runner.batch}, more than the {len(parts['train'])} training "
            f"videos; use --set batch={len(parts['train'])} or less"
        )
    outcome = _fit(plan, method, parts, log)
    method.load_state_dict(outcome.last)
    last = _score(plan, method, parts)
    method.load_state_dict(outcome.best)
    best = _score(plan, method, parts)
    save_model(plan.model, outcome.best, plan.folder)
    save_scores(plan.folder, plan.benchmark.ids("test"), best.test_scores)
    seconds = time.perf_counter() - started
    result = _record(plan, outcome, best, last, parameter_count(method), device, seconds)
    save_result(result, plan.folder)
    return result


def _fit(
    plan: Plan, method: Method, parts: Mapping[str, Examples], log: Callable[[CurvePoint], None]
) -> Fit:
    plan.folder.mkdir(parents=True, exist_ok=True)
    with (plan.folder / CURVE).open("w", encoding="utf-8") as curve:

        def record(point: CurvePoint) -> None:
            curve.write(curve_line(point))
            curve.flush()
            log(point)

        # A video without features scores 0, so that every row is over the same ids.
        val_labels = plan.benchmark.labels("val")
        score = point_scores(val_labels, plan.benchmark.groups)
        return fit(
            Training(
                method=method,
                train=parts["train"],
                val=parts["val"],
                val_scores=lambda scores: score(_over_all(plan, "val", parts["val"], scores)),
                config=plan.runner,
                seed=plan.request.seed,
                log=record,
            )
        )


@dataclass(frozen=True)
class Scored:
    """One state of a method, scored on both lists; `test_scores` is (N_test, C)."""

    val: Metrics
    test: Metrics
    test_scores: NDArray[np.float32]


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


def _record(
    plan: Plan,
    outcome: Fit,
    best: Scored,
    last: Scored,
    parameters: int,
    device: torch.device,
    seconds: float,
) -> Result:
    return Result(
        schema=SCHEMA,
        benchmark=plan.benchmark.name,
        title=plan.benchmark.title,
        benchmark_fingerprint=plan.benchmark.fingerprint,
        features=feature_record(plan.store),
        method=plan.model.method,
        aggregator=plan.model.aggregator,
        network="e1" if plan.model.network == "e1" else "own",
        preset=plan.preset,
        protocol=plan.request.protocol,
        settings=plan.settings,
        seed=plan.request.seed,
        val=best.val,
        test=best.test,
        last_epoch_val=last.val,
        last_epoch_test=last.test,
        selected_on="val",
        epoch=outcome.stages[-1].best_epoch,
        stages=tuple(outcome.stages),
        epochs=sum(stage.epochs for stage in outcome.stages),
        parameters=parameters,
        missing=plan.missing,
        source="run",
        quick=plan.request.quick,
        trials=(),
        warnings=tuple(outcome.warnings),
        diagnostics=outcome.diagnostics,
        environment=environment(device),
        version=__version__,
        commit=commit(),
        seconds=seconds,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def feature_record(store: FeatureStore) -> Features:
    """What a record says of the features that were trained on."""
    return Features(
        name=store.folder.name,
        fingerprint=store.fingerprint,
        encoder=store.manifest["recipe"]["encoder"],
        weights=store.manifest["weights"],
        frames=store.frames,
        untrained=store.untrained,
        imported=store.imported,
    )


def parameter_count(method: Method) -> int:
    """Numbers that the method's stages train, and those that they keep."""
    return sum(parameter.numel() for parameter in method.parameters())


def environment(device: torch.device) -> dict[str, Any]:
    """What a number may depend on besides code, data and seed."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": describe(device),
        "precision": "float32",
        "threads": torch.get_num_threads(),
    }


def commit() -> str | None:
    """The checkout's commit, with a + where files were changed; None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
