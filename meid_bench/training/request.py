"""Request: what the user asks to be run, and the plan in which every name is looked up."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from meid_bench.benchmark.benchmark import Benchmark, load_benchmark
from meid_bench.errors import MeidBenchError, SettingError, unknown
from meid_bench.features.npy_store import open_store
from meid_bench.features.store import FeatureStore, find_store
from meid_bench.files import runs_dir
from meid_bench.methods.aggregators import AGGREGATOR_PREFIX, find_aggregator
from meid_bench.methods.method import IN_EPOCHS, LEARNING_RATE, Method, Task
from meid_bench.methods.presets import divided, preset_in_force, preset_settings
from meid_bench.methods.registry import find_method, find_network
from meid_bench.methods.runner_config import RunnerConfig
from meid_bench.results.record import RECORD
from meid_bench.settings import changed, to_json
from meid_bench.training.code_identity import code_of
from meid_bench.training.data import missing_ids
from meid_bench.training.enough import check_missing
from meid_bench.training.model import Model, build_method, configs
from meid_bench.training.protocol import (
    EQUAL_EPOCHS,
    GRID,
    PROTOCOLS,
    QUICK,
    Protocol,
    equalised,
    rates_of,
    scaled,
    settings_marked,
)


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
        protocol: "paper", the method's own schedule, or "equal", the same number of epochs for
            every method and a learning rate chosen on val.
        quick: Shorten the schedule to a tenth; the record never enters the board.
        label: What progress calls the run; its method where it is left out.
        again: Train anew although the very same run has its record.
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
    protocol: Protocol = "paper"
    quick: bool = False
    label: str | None = None
    again: bool = False

    @property
    def shown(self) -> str:
        """The run in a line of progress."""
        return f"{self.label or self.method} seed {self.seed}"


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
        changed: Names of settings that are not what the preset, or the defaults, have.
        code: SHA-256 of the method's source.
        grid: Learning rates to try, of which val chooses one; empty where the settings name it.
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
    changed: tuple[str, ...]
    code: str
    grid: tuple[float, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting that can move a number, by name; a rate that is tried is the grid."""
        settings = {**self.model.settings, **asdict(self.runner)}
        return settings | rates_of(self._kind, list(self.grid)) if self.grid else settings

    def trial(self, rate: float) -> "Plan":
        """The run of one learning rate, in a folder of its own within this one's."""
        settings = {**self.model.settings, **rates_of(self._kind, rate)}
        model, request = replace(self.model, settings=settings), replace(self.request, again=False)
        folder = self.folder / f"lr-{rate:g}"
        return replace(self, request=request, model=model, grid=(), folder=folder)

    @property
    def _kind(self) -> type[Method]:
        return find_method(self.model.method)

    @property
    def finished(self) -> bool:
        """Whether the very same run has its record already, and is not asked for again."""
        return not self.request.again and (self.folder / RECORD).is_file()


def plan(request: Request, root: Path) -> Plan:
    """Look up everything that a request names, and refuse what cannot run.

    Raises:
        MeidBenchError: A name or setting is unknown, features are missing or of something else.
    """
    if request.protocol not in PROTOCOLS:
        raise unknown("protocol", request.protocol, PROTOCOLS)
    benchmark = load_benchmark(request.dataset, root)
    method, preset = preset_in_force(request.method, request.preset, benchmark.published)
    request = replace(request, method=method)
    kind = find_method(method)
    settings, runner = resolve(
        kind, request.aggregator, preset, request.settings, request.protocol, request.quick
    )
    store = open_store(find_store(root, benchmark, request.features))
    missing = missing_ids(benchmark, store)
    check_missing(missing, request.allow_missing, benchmark)
    task = Task(
        width=store.width,
        counts=tuple(int(n) for n in benchmark.counts),
        groups={name: tuple(map(int, index)) for name, index in benchmark.groups.items()},
        frames=store.frames,
    )
    model = Model(
        method=request.method,
        aggregator=request.aggregator,
        network=request.network,
        settings=settings,
        task=task,
        classes=benchmark.classes,
        features=store.fingerprint,
    )
    model = _without_idle(model, request.settings)
    runner = _with_frames(runner, benchmark, model)
    network = () if request.network == "own" else (find_network(request.network),)
    code = code_of(kind, *network)  # type: ignore[arg-type]  # a class is hashable
    conditions = store.manifest.conditions
    name = _run_name(model, runner, preset, benchmark, request, code, conditions)
    return Plan(
        request=request,
        benchmark=benchmark,
        store=store,
        model=model,
        runner=runner,
        preset=preset,
        missing=missing,
        epochs=_epochs(model),  # a setting that does not fit the shapes is refused here
        folder=runs_dir(root, benchmark.name) / name,
        changed=_changed(request, preset, benchmark, model, runner),
        code=code,
        grid=GRID if request.protocol == "equal" else (),
    )


def _changed(
    request: Request, preset: str | None, benchmark: Benchmark, model: Model, runner: RunnerConfig
) -> tuple[str, ...]:
    """Names of settings that would be others without `--set`."""
    kind = find_method(model.method)
    own, own_runner = resolve(kind, model.aggregator, preset, {}, request.protocol, request.quick)
    own_runner = _with_frames(own_runner, benchmark, replace(model, settings=own))
    own |= asdict(own_runner)
    settings = {**model.settings, **asdict(runner)}
    return tuple(name for name, value in settings.items() if value != own[name])


def _epochs(model: Model) -> int:
    """How many epochs all stages of a method have together."""
    try:
        with torch.device("meta"):  # no memory, no time
            return sum(stage.epochs for stage in build_method(model).stages())
    except MeidBenchError:
        raise
    except Exception:  # a method may look at its own numbers, and there are none on "meta"
        return sum(stage.epochs for stage in build_method(model).stages())


def resolve(
    kind: type[Method],
    aggregator: str,
    preset: str | None,
    settings: Mapping[str, Any],
    protocol: Protocol = "paper",
    quick: bool = False,
) -> tuple[dict[str, Any], RunnerConfig]:
    """Settings of method and aggregator by name, and the runner's: defaults, preset, changes.

    `quick` shortens what is not among the changes. Under protocol "equal" the learning rates are
    the first of the grid.

    Raises:
        SettingError: A name is unknown (the nearest is offered), a value is out of range, or the
            protocol chooses it.
    """
    chosen = preset_settings(kind, aggregator, preset)
    given = divided(kind, aggregator, settings)
    if protocol == "equal":
        _check_free(kind, settings)
    config = changed(kind.Config(), chosen.method)
    if quick and protocol == "paper":
        config = scaled(config, QUICK)
    config = changed(config, given.method)
    if protocol == "equal":
        config = equalised(kind, config, round(EQUAL_EPOCHS * (QUICK if quick else 1)))
    inner = changed(find_aggregator(aggregator).Config(), {**chosen.aggregator, **given.aggregator})
    runner = changed(RunnerConfig(), {**chosen.runner, **given.runner})
    resolved = asdict(config)
    resolved |= {AGGREGATOR_PREFIX + name: value for name, value in asdict(inner).items()}
    to_json(asdict(runner))  # refuses what no record can hold
    return to_json(resolved), runner


def _check_free(kind: type[Method], settings: Mapping[str, Any]) -> None:
    for mark in (LEARNING_RATE, IN_EPOCHS):
        for name in settings_marked(kind.Config, mark):
            if name in settings:
                raise SettingError(
                    f"Setting {name} is chosen by protocol equal; leave it out, or use "
                    "--protocol paper"
                )


def _without_idle(model: Model, given: Mapping[str, Any]) -> Model:
    """The model without settings that its configuration does not use.

    Raises:
        SettingError: One of them is given.
    """
    method, aggregator = configs(model)
    idle = dict(method.idle(model.task))
    idle |= {AGGREGATOR_PREFIX + name: reason for name, reason in aggregator.idle().items()}
    for name, reason in idle.items():
        if name in given:
            raise SettingError(
                f"Setting {name}={given[name]} would change nothing, because {reason}; leave it out"
            )
    used = {name: value for name, value in model.settings.items() if name not in idle}
    return replace(model, settings=used)


def _with_frames(runner: RunnerConfig, benchmark: Benchmark, model: Model) -> RunnerConfig:
    count, frames = runner.training_frames, model.task.frames
    if count is not None and count > frames:
        raise SettingError(
            f"Setting training_frames is {count}; the features have {frames} frames a video"
        )
    needs_all = find_method(model.method).all_frames or configs(model)[1].all_frames
    if needs_all and count not in (None, frames):
        raise SettingError(
            f"Setting training_frames is {count}; {model.method} with these settings needs all "
            f"{frames} frames of a video in training too: leave it out"
        )
    if count is None and not needs_all:
        count = benchmark.training_frames
    fewer = count is not None and count < frames
    return changed(runner, {"training_frames": count if fewer else None})


def _run_name(
    model: Model,
    runner: RunnerConfig,
    preset: str | None,
    benchmark: Benchmark,
    request: Request,
    code: str,
    conditions: Mapping[str, Any],
) -> str:
    everything = asdict(model) | asdict(runner) | {"benchmark": benchmark.fingerprint, "code": code}
    everything |= {"protocol": request.protocol, "quick": request.quick}
    everything |= {"conditions of the features": conditions}
    digest = hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:8]
    parts = [model.method, model.aggregator, "" if model.network == "own" else model.network]
    parts += [preset or "", "" if request.protocol == "paper" else request.protocol]
    parts += ["quick" if request.quick else "", f"s{request.seed}", digest]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(part for part in parts if part))
