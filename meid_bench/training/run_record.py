"""Record: what a run's result.json says of it."""

import platform
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench import __version__
from meid_bench import distributed as ranks
from meid_bench.device import describe
from meid_bench.features.store import FeatureStore
from meid_bench.methods.method import Method
from meid_bench.results.metrics import Metrics
from meid_bench.results.record import SCHEMA, Features, Result
from meid_bench.training.cache import Cache
from meid_bench.training.execution import Execution, resolve_precision
from meid_bench.training.fit import Fit
from meid_bench.training.request import Plan


@dataclass(frozen=True)
class Scored:
    """One state of a method, scored on both lists; `test_scores` is (N_test, C)."""

    val: Metrics
    test: Metrics
    test_scores: NDArray[np.float32]


def record_of(
    plan: Plan,
    outcome: Fit,
    best: Scored,
    last: Scored,
    parameters: int,
    found: Mapping[str, Any],
    seconds: float,
) -> Result:
    """The record of a run that has ended; `found` is its environment."""
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
        environment=found,
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
        encoder=store.manifest.recipe.encoder,
        weights=store.manifest.weights,
        frames=store.frames,
        untrained=store.untrained,
        imported=store.imported,
        provenance=store.manifest.conditions,
    )


def parameter_count(method: Method) -> int:
    """Numbers that the method's stages train, and those that they keep."""
    return sum(parameter.numel() for parameter in method.parameters())


def environment(device: torch.device, execution: Execution, cache: Cache) -> dict[str, Any]:
    """What a number may depend on besides code, data and seed."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": describe(device),
        "precision": resolve_precision(execution.precision, device),
        "deterministic": execution.deterministic or device.type == "cpu",
        "compiled": execution.compile,
        "cache": cache.mode,
        "threads": torch.get_num_threads(),
        "ranks": ranks.size(),
    }


def commit() -> str | None:
    """The commit of meid-bench's own checkout, with a + where files were changed; None elsewhere.

    What is installed within another repository, as in a project's virtual environment, has no
    commit of its own: that repository's says nothing of this code.
    """
    package = Path(__file__).resolve().parents[1]
    top = _git(package, "rev-parse", "--show-toplevel")
    if top is None or Path(top) != package.parent or not _is_ours(package):
        return None
    return _git(package, "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")


def _is_ours(package: Path) -> bool:
    """Whether the repository around the package is meid-bench's: it holds it, and says so."""
    try:
        project = tomllib.loads((package.parent / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    named = project.get("project", {}).get("name") == "meid-bench"
    return named and _git(package, "ls-files", "--error-unmatch", "__init__.py") is not None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
