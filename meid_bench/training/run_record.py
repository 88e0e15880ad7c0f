"""Run record: what a run's result.json says of it."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench import __version__, distributed
from meid_bench.device import describe
from meid_bench.features.joined_store import Store
from meid_bench.methods.code_identity import commit
from meid_bench.results.metrics import EVALUATOR, Metrics
from meid_bench.results.record import SCHEMA, Features, Result
from meid_bench.training.cache import Cache
from meid_bench.training.checkpoint import Fit
from meid_bench.training.execution import Execution
from meid_bench.training.request import Plan


@dataclass(frozen=True)
class Scored:
    """One state of a method, scored on both lists; `scores` are (N, C) of "val" and "test"."""

    val: Metrics
    test: Metrics
    scores: Mapping[str, NDArray[np.float32]]


def record_of(
    plan: Plan,
    state: Fit,
    best: Scored,
    last: Scored,
    parameters: int,
    environment: Mapping[str, Any],
    seconds: float,
) -> Result:
    """The record of a run that has ended."""
    return Result(
        schema=SCHEMA,
        benchmark=plan.benchmark.name,
        title=plan.benchmark.title,
        benchmark_fingerprint=plan.benchmark.fingerprint,
        features=feature_record(plan.store),
        method=plan.model.method,
        aggregator=plan.model.aggregator,
        network=plan.model.network,
        preset=plan.preset,
        protocol=plan.request.protocol,
        settings=plan.settings,
        changed=plan.changed,
        code=plan.code,
        seed=plan.request.seed,
        val=best.val,
        test=best.test,
        last_epoch_val=last.val,
        last_epoch_test=last.test,
        evaluator=EVALUATOR,
        selected_on="val",
        epoch=state.stages[-1].best_epoch,
        stages=tuple(state.stages),
        epochs=sum(stage.epochs for stage in state.stages),
        parameters=parameters,
        missing=plan.missing,
        quick=plan.request.quick,
        trials=(),
        warnings=tuple(state.warnings),
        diagnostics=state.diagnostics,
        environment=environment,
        version=__version__,
        commit=commit(),
        seconds=seconds,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def feature_record(store: Store) -> Features:
    """What a record says of the features that were trained on."""
    return Features(
        name=store.name,
        fingerprint=store.fingerprint,
        encoder=store.manifest.encoder_text,
        weights=store.manifest.weights,
        frames=store.frames,
        untrained=store.untrained,
        imported=store.imported,
        provenance=store.manifest.conditions,
    )


def environment(device: torch.device, execution: Execution, cache: Cache) -> dict[str, Any]:
    """What a number may depend on besides code, data and seed; `execution` is the device's."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": describe(device),
        "precision": execution.precision,
        "deterministic": execution.deterministic or device.type == "cpu",
        "compiled": execution.compile,
        "cache": cache.mode,
        "threads": torch.get_num_threads(),
        "ranks": distributed.size(),
    }


def made_with(device: torch.device, execution: Execution) -> str:
    """What a number's last digits depend on, in words; a resumed run warns where it has changed."""
    return (
        f"device {describe(device)}, precision {execution.precision}, threads "
        f"{torch.get_num_threads()}, ranks {distributed.size()}, torch {torch.__version__}"
    )
