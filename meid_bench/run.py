"""Run: load -> fit -> predict -> score -> Result; one method, one seed."""

import hashlib
import json
import platform
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench import __version__
from meid_bench.aggregators import find_aggregator
from meid_bench.benchmark import Benchmark, load_benchmark
from meid_bench.config import changed, setting_names
from meid_bench.data import Examples, load_examples, missing_ids
from meid_bench.device import describe
from meid_bench.errors import DataError, MethodError, SettingError, unknown
from meid_bench.features import FeatureStore, find_store
from meid_bench.method import Method, Task
from meid_bench.metrics import Metrics, evaluate_scores
from meid_bench.model import AGGREGATOR_PREFIX, Model, build_method, save_model
from meid_bench.paths import runs_dir
from meid_bench.plugins import find_method
from meid_bench.results import (
    CURVE,
    RECORD,
    SCHEMA,
    CurvePoint,
    Features,
    Result,
    curve_line,
    load_result,
    save_result,
    save_scores,
)
from meid_bench.train import Fit, RunnerConfig, Training, fit, point_scores, predict

VIDEOLT_PRESET = "videolt"


@dataclass(frozen=True)
class Request:
    """What the user asks to be run.

    Attributes:
        method: Registered name, or module:Class.
        dataset: A built benchmark.
        aggregator: nonlinear, netvlad or nextvlad.
        network: "own", or "e1" to put the method's loss on MEID's first expert's network.
        seed: Of everything random.
        features: Name of a feature store, or its beginning; None for the only one.
        preset: Name of one of the method's presets, "default" for none; None for the benchmark's.
        settings: `--set` pairs: of the method, of the runner, or "aggregator.<name>".
        allow_missing: How many listed videos may be without features.
    """

    method: str
    dataset: str = "charadeslt"
    aggregator: str = "nextvlad"
    network: str = "own"
    seed: int = 0
    features: str | None = None
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    allow_missing: int = 0


@dataclass(frozen=True)
class Plan:
    """A request with every name looked up and every setting resolved: ready to run.

    Attributes:
        request: What was asked.
        benchmark: The benchmark.
        store: Its features.
        model: The network to train.
        runner: The runner's settings.
        preset: Name of the preset in force, or None.
        missing: Split name -> listed ids without features.
        epochs: How many epochs all stages have together.
        folder: Where the run's record goes.
    """

    request: Request
    benchmark: Benchmark
    store: FeatureStore
    model: Model
    runner: RunnerConfig
    preset: str | None
    missing: Mapping[str, tuple[str, ...]]
    epochs: int
    folder: Path

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting that can move a number, by name."""
        return {**self.model.settings, **asdict(self.runner)}

    @property
    def finished(self) -> bool:
        """Whether the very same run has its record already."""
        return (self.folder / RECORD).is_file()


def plan(request: Request, root: Path) -> Plan:
    """Look up everything that a request names, and refuse what cannot run.

    Raises:
        MeidBenchError: A name or setting is unknown, features are missing or of something else.
    """
    kind = find_method(request.method)
    benchmark = load_benchmark(request.dataset, root)
    preset = _preset(kind, request, benchmark)
    settings, runner = resolve(kind, request.aggregator, preset, request.settings)
    store = FeatureStore(find_store(root, benchmark, request.features))
    runner = _with_frames(runner, benchmark, store)
    missing = missing_ids(benchmark, store)
    _check_missing(missing, request.allow_missing, benchmark)
    task = Task(
        width=store.width,
        counts=tuple(int(n) for n in benchmark.counts),
        groups={name: tuple(map(int, index)) for name, index in benchmark.groups.items()},
    )
    model = Model(
        method=request.method,
        aggregator=request.aggregator,
        network=request.network,
        settings=settings,
        task=task,
        classes=benchmark.classes,
        features=store.fingerprint,
        frames=store.frames,
    )
    folder = runs_dir(root, benchmark.name) / _run_name(model, runner, preset, benchmark, request)
    with torch.device("meta"):  # the shapes alone: a setting that does not fit is refused here
        epochs = sum(stage.epochs for stage in build_method(model).stages())
    return Plan(request, benchmark, store, model, runner, preset, missing, epochs, folder)


def resolve(
    kind: type[Method], aggregator: str, preset: str | None, settings: Mapping[str, Any]
) -> tuple[dict[str, Any], RunnerConfig]:
    """Settings of method and aggregator by name, and the runner's, from defaults and changes.

    Raises:
        SettingError: A name is unknown (the nearest is offered) or a value is out of range.
    """
    aggregator_kind = find_aggregator(aggregator).Config
    prefixed = [AGGREGATOR_PREFIX + name for name in setting_names(aggregator_kind)]
    own, general = setting_names(kind.Config), setting_names(RunnerConfig)
    for name in settings:
        if name not in [*own, *general, *prefixed]:
            raise unknown(f"setting of {kind.__name__}", name, [*own, *general, *prefixed])
    chosen = dict(kind.presets.get(preset, {}) if preset else {})
    chosen |= {name: value for name, value in settings.items() if name in own}
    inner = {n.removeprefix(AGGREGATOR_PREFIX): v for n, v in settings.items() if n in prefixed}
    resolved = asdict(changed(kind.Config(), chosen))
    for name, value in asdict(changed(aggregator_kind(), inner)).items():
        resolved[AGGREGATOR_PREFIX + name] = value
    runner = changed(RunnerConfig(), {n: v for n, v in settings.items() if n in general})
    # Lists, as JSON has them: a record read back is equal to the one that was written.
    plain = {n: list(v) if isinstance(v, tuple) else v for n, v in resolved.items()}
    return plain, runner


def _preset(kind: type[Method], request: Request, benchmark: Benchmark) -> str | None:
    if request.preset is None:
        on_videolt = benchmark.published == "VideoLT" and VIDEOLT_PRESET in kind.presets
        return VIDEOLT_PRESET if on_videolt else None
    if request.preset == "default":
        return None
    if request.preset not in kind.presets:
        raise unknown(f"preset of {request.method}", request.preset, ["default", *kind.presets])
    return request.preset


def _with_frames(runner: RunnerConfig, benchmark: Benchmark, store: FeatureStore) -> RunnerConfig:
    count = runner.training_frames or benchmark.training_frames
    if runner.training_frames is not None and runner.training_frames > store.frames:
        raise SettingError(
            f"Setting training_frames is {count}; the features have {store.frames} frames a video"
        )
    fewer = count is not None and count < store.frames
    return changed(runner, {"training_frames": count if fewer else None})


def _check_missing(
    missing: Mapping[str, tuple[str, ...]], allowed: int, benchmark: Benchmark
) -> None:
    count = sum(len(ids) for ids in missing.values())
    if count > allowed:
        first = next(iter(missing.values()))[0]
        raise DataError(
            f"{count} listed videos of {benchmark.name} have no features, the first is {first!r} "
            f"({', '.join(f'{len(ids)} in {split}' for split, ids in missing.items())}); run "
            f"`meid-bench extract --dataset {benchmark.name}` again, or accept it with "
            f"--allow-missing {count}"
        )


def _run_name(
    model: Model, runner: RunnerConfig, preset: str | None, benchmark: Benchmark, request: Request
) -> str:
    everything = asdict(model) | asdict(runner) | {"benchmark": benchmark.fingerprint}
    digest = hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:8]
    parts = [model.method, model.aggregator, "" if model.network == "own" else model.network]
    parts += [preset or "", f"s{request.seed}", digest]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(part for part in parts if part))


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
        protocol="paper",
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
        quick=False,
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
