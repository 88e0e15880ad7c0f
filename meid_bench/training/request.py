"""Request: what the user asks to be run; Plan: the same with every name looked up."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from meid_bench.benchmark.benchmark import Benchmark, load_benchmark
from meid_bench.codec import encode
from meid_bench.errors import SettingError, unknown
from meid_bench.features.joined_manifest import PLUS, JoinedManifest
from meid_bench.features.joined_store import Store, open_features
from meid_bench.features.manifest import Manifest
from meid_bench.files import runs_dir
from meid_bench.methods.code_identity import code_of
from meid_bench.methods.method import WHOLE_AGGREGATOR, Method, Task
from meid_bench.methods.presets import preset_in_force
from meid_bench.methods.registry import find_method, find_network
from meid_bench.methods.settings import RunnerConfig, Settings
from meid_bench.results.record import RECORD
from meid_bench.training.data import check_batch, missing_ids
from meid_bench.training.model import Model, build_method, stages_of
from meid_bench.training.protocol import PROTOCOLS, Protocol, resolve, trials_of

LONGEST_FEATURES = 150  # of a run's name, which is a folder's


@dataclass(frozen=True)
class Request:
    """What the user asks to be run.

    Attributes:
        method: Registered name, or module:Class.
        dataset: A built benchmark.
        aggregator: nonlinear, netvlad or nextvlad.
        network: "own", or "e1" to put the method's loss on MEID's first expert's network.
        seed: Of everything random.
        features: Name of a feature store, or its beginning; of several with "+" between them, whose
            columns are joined; None for the only one.
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
        store: The benchmark's features.
        model: The network to train, with all settings.
        preset: Name of the preset in force, or None.
        missing: Split name -> listed ids without features.
        epochs: Of all stages together.
        folder: Where the run's record goes.
        changed: Names of settings that are not what the preset, or the defaults, have.
        code: SHA-256 of the method's source.
        trials: Settings of each trial of protocol "equal", of which val chooses one; else empty.
    """

    request: Request
    benchmark: Benchmark
    store: Store
    model: Model
    preset: str | None
    missing: Mapping[str, tuple[str, ...]]
    epochs: int
    folder: Path
    changed: tuple[str, ...]
    code: str
    trials: tuple[Mapping[str, Any], ...] = ()

    @property
    def runner(self) -> RunnerConfig:
        """The settings of the training loop."""
        return self.model.settings.runner

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as the record has them, by name; of what is tried all values in turn."""
        settings = self.model.settings.recorded(self.model.task)
        for name in self.trials[0] if self.trials else ():
            settings[name] = list(dict.fromkeys(trial[name] for trial in self.trials))
        return settings

    def trial(self, number: int) -> "Plan":
        """The run of one trial, in a folder of its own within this one's."""
        settings = self.model.settings.changed(self.trials[number])
        return replace(
            self,
            request=replace(self.request, again=False),
            model=replace(self.model, settings=settings),
            trials=(),
            folder=self.folder / f"trial-{number + 1}",
        )

    @property
    def capped_batch(self) -> int | None:
        """The batch where it is all training videos and the user did not ask for that."""
        videos = _trained_on(self.benchmark, self.missing)
        return (
            videos if self.runner.batch == videos and "batch" not in self.request.settings else None
        )

    @property
    def runs(self) -> "tuple[Plan, ...]":
        """What is trained: every trial, or this run itself where nothing is tried."""
        return tuple(map(self.trial, range(len(self.trials)))) or (self,)

    @property
    def finished(self) -> bool:
        """Whether the very same run has its record already, and is not asked for again."""
        return not self.request.again and (self.folder / RECORD).is_file()


def plan_run(request: Request, root: Path) -> Plan:
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
    store = open_features(root, benchmark, request.features)
    missing = missing_ids(benchmark, store, request.allow_missing)
    task = Task(
        width=store.width,
        counts=tuple(int(n) for n in benchmark.counts),
        groups={name: tuple(map(int, index)) for name, index in benchmark.groups.items()},
        frames=store.frames,
        videos=len(benchmark.splits["train"]),
    )
    videos = _trained_on(benchmark, missing)
    settings, changed = _settings(request, kind, preset, benchmark, task, videos)
    model = Model(
        method=method,
        aggregator=request.aggregator,
        network=request.network,
        settings=settings,
        task=task,
        classes=benchmark.classes,
        features=store.fingerprint,
    )
    network = () if request.network == "own" else (find_network(request.network),)
    code = code_of(kind, *network)
    trials = trials_of(kind) if request.protocol == "equal" else ()
    name = _run_name(request, preset, model, trials, code, benchmark.fingerprint, store.manifest)
    return Plan(
        request=request,
        benchmark=benchmark,
        store=store,
        model=model,
        preset=preset,
        missing=missing,
        # A setting that does not fit the shapes is refused here.
        epochs=sum(stage.epochs for stage in stages_of(lambda: build_method(model))),
        folder=runs_dir(root, benchmark.name) / name,
        changed=changed,
        code=code,
        trials=trials,
    )


def _settings(
    request: Request,
    kind: type[Method],
    preset: str | None,
    benchmark: Benchmark,
    task: Task,
    videos: int,
) -> tuple[Settings, tuple[str, ...]]:
    """The run's settings, and names of those that are not the preset's, or the defaults.

    A batch that the user does not set has no more than all `videos` that can be trained on.
    """
    settings, usual = (
        resolve(kind, request.aggregator, preset, values, request.protocol, request.quick)
        for values in (request.settings, {})
    )
    why = settings.method.idle(task).get(WHOLE_AGGREGATOR)
    if why is not None and request.network != "own":
        raise SettingError(
            f"--network {request.network} would change nothing, because {why}; leave it out"
        )
    for name, reason in settings.idle(task).items():
        if name in request.settings:
            raise SettingError(
                f"Setting {name}={request.settings[name]} would change nothing, because {reason}; "
                "leave it out"
            )
    settings = _with_frames(settings, benchmark, kind, task)
    usual = _with_frames(usual, benchmark, kind, task)
    usual = usual.changed({"batch": min(usual.runner.batch, videos)})
    if "batch" not in request.settings:
        settings = settings.changed({"batch": min(settings.runner.batch, videos)})
    check_batch(settings.runner.batch, videos)
    before = usual.named()
    recorded = settings.recorded(task)
    return settings, tuple(name for name, value in recorded.items() if value != before[name])


def _trained_on(benchmark: Benchmark, missing: Mapping[str, tuple[str, ...]]) -> int:
    """How many training videos have features."""
    return len(benchmark.splits["train"]) - len(missing.get("train", ()))


def _with_frames(
    settings: Settings, benchmark: Benchmark, kind: type[Method], task: Task
) -> Settings:
    """The settings with the benchmark's rule where they name no frames for training."""
    count, frames = settings.runner.training_frames, task.frames
    if count is not None and count > frames:
        raise SettingError(
            f"Setting training_frames is {count}; the features have {frames} frames a video"
        )
    needs_all = kind.all_frames or settings.aggregator.all_frames
    if needs_all and count not in (None, frames):
        raise SettingError(
            f"Setting training_frames is {count}; {kind.__name__} with these settings needs all "
            f"{frames} frames of a video in training too: leave it out"
        )
    if count is None and not needs_all:
        count = benchmark.training_frames
    fewer = count is not None and count < frames
    return settings.changed({"training_frames": count if fewer else None})


def _run_name(
    request: Request,
    preset: str | None,
    model: Model,
    trials: Sequence[Mapping[str, Any]],
    code: str,
    benchmark: str,
    features: Manifest | JoinedManifest,
) -> str:
    """Name of the run's folder; its digest is over everything that a number depends on."""
    everything = encode(model) | {
        "settings": model.settings.recorded(model.task),
        "code": code,
        "benchmark": benchmark,
        "protocol": request.protocol,
        "trials": trials,
        "quick": request.quick,
        "conditions of the features": features.conditions,
    }
    digest = hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:8]
    parts = [model.method, model.aggregator, "" if model.network == "own" else model.network]
    joined = [f"{part.encoder}-{part.fingerprint[:8]}" for part in features.parts]
    parts += [PLUS.join(joined)[:LONGEST_FEATURES] if len(joined) > 1 else ""]
    parts += [preset or "", "" if request.protocol == "paper" else request.protocol]
    parts += ["quick" if request.quick else "", f"s{request.seed}", digest]
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", "-".join(part for part in parts if part))
