"""Time and memory of training: the network alone, our epochs, and a loop as the field writes it.

    python tools/bench_train.py                                  at CharadesLT's size
    python tools/bench_train.py --videos 256 --frames 50 --width 1024 --rounds 5
    python tools/bench_train.py --losses --rounds 30             the losses alone

Everything is measured in one run on one machine, in turn and several rounds, and printed as
ratios of medians; features are made up and lie in a temporary folder.

- ceiling: forward, backward and step on one batch that stays on the device, as often as an epoch
  has steps; where frames are stacked with the scores that the running AP needs. For the code of
  MEID's authors without drawing and stacking frames.
- ours: `train_epoch` with features kept beside the network (or in main memory) and streamed.
- field: tools/field_loop.py.
- evaluation: AP of 51,239 x 1,004 scores against an argsort per class, on one core and on all.
- losses: a step with each loss over plain's, 128 videos of one frame and 1,004 classes.
- memory: the peak of a process that trains one epoch, above what it has once its libraries are
  there, for each cache mode and with ten times the videos.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import click
import numpy as np
import psutil
import torch
from field_loop import FieldLoop, FieldNonlinear, argsort_ap
from loss_steps import loss_steps
from numpy.typing import NDArray
from tabulate import tabulate

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.benchmark.longtail import Bins
from meid_bench.device import choose_device, describe
from meid_bench.features.manifest import Recipe, make_manifest
from meid_bench.features.shard import VideoFeatures
from meid_bench.features.store import FeatureStore, write_store
from meid_bench.methods.aggregators import aggregator_maker
from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.method import Method, Stage, Task
from meid_bench.methods.presets import preset_settings
from meid_bench.methods.registry import find_method
from meid_bench.methods.samplers import EpochSampler, batches
from meid_bench.methods.settings import RunnerConfig, changed
from meid_bench.methods.trainable import training_mode
from meid_bench.number_text import size_text
from meid_bench.results.metrics import average_precision
from meid_bench.training.cache import HOST_SHARE, free_host_memory
from meid_bench.training.data import Examples, load_examples
from meid_bench.training.epoch import Stepper, epoch_batches, seeded, train_epoch
from meid_bench.training.execution import arithmetic, resolve_precision

CASES = {"plain": ("plain", 0), "FrameStack": ("framestack", 0)} | {
    "MEID, stage 1": ("meid", 0),
    "MEID, stage 2": ("meid", 1),
    "its authors' code, stage 1": ("meid-authors", 0),
    "its authors' code, stage 2": ("meid-authors", 1),
}
# Without what a step does beside the network's forward and backward: the ceiling's settings.
BARE: dict[str, dict[str, object]] = {"meid-authors": {"redraw": False, "ratio": 0.0}}
ALL_FRAMES = RunnerConfig()
EPOCH = 1  # of the stage: from it on FrameStack stacks
TENFOLD = 10
LOSS_BATCH, LOSS_CLASSES = 128, 1004
# glibc keeps freed tensors of a few megabytes for later, more of them the more steps there were:
# what is measured is what is in use.
RETURNED_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": str(4 << 20)}


@dataclass(frozen=True)
class Size:
    """How much is trained on: N videos of T frames of D numbers, C classes, B a batch."""

    videos: int
    frames: int
    width: int
    classes: int
    batch: int
    aggregator: str


def made_up(size: Size) -> Benchmark:
    """Long-tailed labels without a meaning; val and test of one video each."""
    random = np.random.default_rng(0)
    chance = np.geomspace(0.25, 0.005, size.classes)
    rows = random.random((size.videos, size.classes)) < chance
    rows[np.arange(size.videos), random.integers(size.classes, size=size.videos)] = True
    splits = {
        "train": tuple(
            Annotation(f"v{row:06d}", tuple(map(int, np.flatnonzero(labels))))
            for row, labels in enumerate(rows)
        ),
        "val": (Annotation("w0", (0,)),),
        "test": (Annotation("x0", (0,)),),
    }
    names = tuple(f"class {c}" for c in range(size.classes))
    return Benchmark("bench", "Bench", names, splits, Bins(20, 100), size.frames)


def write_features(size: Size, folder: Path, files: Path | None) -> None:
    """A store of random features and, for the field's loop, a .npy file a video."""
    benchmark = made_up(size)
    recipe = Recipe("none", "0", "none", size.frames, size.width, "none")
    index = np.arange(size.frames, dtype=np.int32)

    def videos() -> Iterator[VideoFeatures]:
        random = np.random.default_rng(0)
        for row, name in enumerate(benchmark.all_ids()):
            values = random.standard_normal((size.frames, size.width), dtype=np.float32)
            half = values.astype(np.float16)
            if files is not None and name.startswith("v"):
                np.save(files / f"{row}.npy", half)
            yield VideoFeatures(name, half, index, index.astype(np.float32), size.frames)

    manifest = make_manifest(benchmark, recipe, weights="none", untrained=True)
    write_store(folder, manifest, benchmark.all_ids(), videos())


@dataclass
class Subject:
    """One method at one stage, ready to be trained by our loop."""

    method: Method
    stage: Stage
    number: int
    train: Examples
    size: Size
    bfloat16: bool
    stepper: Stepper = field(init=False)

    def __post_init__(self) -> None:
        self.method.to(self.train.device)
        self.method.begin_stage(self.stage)
        device = self.train.device
        self.stepper = Stepper(self.method, self.stage, device, 20.0, self.bfloat16)

    def epoch(self) -> None:
        """Our epoch."""
        draws = EpochSampler(self.train.labels, self.stage.sampler).draw(0, self.number, EPOCH)
        generator = seeded(0, self.number, EPOCH, self.train.device)
        train_epoch(
            self.stepper, self.train, draws, generator, EPOCH, RunnerConfig(self.size.batch)
        )

    def ceiling(self) -> None:
        """The network alone, as often as an epoch has steps."""
        draws = EpochSampler(self.train.labels, self.stage.sampler).draw(0, self.number, EPOCH)
        generator = seeded(0, self.number, EPOCH, self.train.device)
        parts = batches(self.size.videos, self.size.batch)
        sizes = {part.stop - part.start for part in parts}
        resident = {
            count: next(epoch_batches(self.train, draws, [slice(0, count)], generator, ALL_FRAMES))
            for count in sizes
        }
        scores = type(self.method).end_epoch is not Method.end_epoch
        training_mode(self.method)
        for part in parts:
            batch = resident[part.stop - part.start]
            if scores:
                with torch.no_grad(), self.stepper.autocast:
                    self.method.eval()(batch.features)
                training_mode(self.method)
            self.stepper.step(batch, EPOCH)


def subject(
    size: Size, case: str, train: Examples, bfloat16: bool, field_net: bool, bare: bool = False
) -> Subject:
    """A method at the stage that a case names, with fresh weights."""
    torch.manual_seed(0)
    name, number = CASES[case]
    counts = tuple(int(n) for n in train.labels.sum(0, dtype=np.int64))
    classes = np.argsort(counts)[::-1]
    thirds = dict(zip(("head", "medium", "tail"), np.array_split(classes, 3), strict=True))
    groups = {group: tuple(map(int, index)) for group, index in thirds.items()}
    task = Task(size.width, counts, groups, size.frames, size.videos)
    kind = find_method(name)
    config = changed(kind.Config(), BARE.get(name, {}) if bare else {})
    method = kind(task, config, maker(size, kind, field_net))
    return Subject(method, method.stages()[number], number, train, size, bfloat16)


def maker(size: Size, kind: type[Method], field_net: bool) -> MakeAggregator:
    """The method's aggregator; for the field's loop its Nonlinear as the field has it."""
    if field_net and size.aggregator == "nonlinear":
        return FieldNonlinear
    config = preset_settings(kind, size.aggregator, None).aggregator
    return aggregator_maker(size.aggregator, config, size.frames)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of `work`, what is still queued on a GPU included."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def measure_epochs(
    size: Size,
    cases: Sequence[str],
    folder: Path,
    files: Path,
    device: torch.device,
    rounds: int,
    bfloat16: bool,
) -> list[list[str]]:
    """A row a case: share of the ceiling kept and streamed, and the field's time over ours."""
    benchmark, store = made_up(size), FeatureStore(folder)
    resident = "device" if device.type == "cuda" else "host"
    kept, streamed = (
        load_examples(benchmark, store, "train", device, mode) for mode in (resident, "stream")
    )
    rows = []
    for case in cases:
        ours, streaming = (subject(size, case, t, bfloat16, False) for t in (kept, streamed))
        bare = subject(size, case, kept, bfloat16, False, bare=True)
        theirs = subject(size, case, kept, False, True)
        stacks = case == "FrameStack"
        loop = FieldLoop(
            theirs.method, theirs.stage, files, kept.labels, size.batch, stacks, device
        )
        theirs.method.train()
        works = {
            "ceiling": bare.ceiling,
            "kept": ours.epoch,
            "streamed": streaming.epoch,
            "field": loop.epoch,
        }
        times: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(rounds + 1):
            for name, work in works.items():
                took = seconds(work, device)
                if turn:  # the first one warms up
                    times[name].append(took)
        rows.append([case, *_ratios(times)])
        click.echo("  " + ", ".join(rows[-1]), err=True)  # a long run may be cut short
    return rows


def _ratios(times: dict[str, list[float]]) -> list[str]:
    def ratio(above: str, below: str) -> str:
        found = [a / b for a, b in zip(times[above], times[below], strict=True)]
        return f"{statistics.median(found):.2f} ({min(found):.2f}..{max(found):.2f})"

    took = statistics.median(times["kept"])
    shares = [ratio("ceiling", "kept"), ratio("ceiling", "streamed")]
    return [f"{took:.2f}", *shares, ratio("field", "kept"), ratio("field", "streamed")]


def measure_evaluation(videos: int, classes: int, rounds: int) -> tuple[float, float]:
    """How many times faster AP is than an argsort per class: on one core, and on all."""
    random = np.random.default_rng(0)
    scores = random.random((videos, classes), dtype=np.float32)
    labels: NDArray[np.uint8] = (random.random((videos, classes)) < 0.002).astype(np.uint8)
    one, every = [], []
    cpu = torch.device("cpu")
    for _ in range(rounds):
        slow = seconds(lambda: argsort_ap(scores, labels.astype(np.float32)), cpu)
        with mock.patch("meid_bench.results.metrics.cores", lambda: 1):
            one.append(slow / seconds(lambda: average_precision(scores, labels), cpu))
        every.append(slow / seconds(lambda: average_precision(scores, labels), cpu))
    return statistics.median(one), statistics.median(every)


def measure_memory(size: Size, folder: Path, cache: str, device: torch.device) -> float:
    """Megabytes that one epoch takes at its peak, in a process of its own."""
    arguments = [sys.executable, __file__, "--memory-of", cache, "--store", str(folder)]
    for name in ("videos", "frames", "width", "classes", "batch", "aggregator"):
        arguments += [f"--{name}", str(getattr(size, name))]
    arguments += ["--device", str(device)]
    environment = os.environ | RETURNED_AT_ONCE
    done = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout))


def _peak(size: Size, folder: Path, cache: str, device: torch.device) -> str:
    needed = 2 * size.videos * size.frames * size.width
    if cache == "host" and needed > HOST_SHARE * free_host_memory():
        return f"{size_text(needed)} do not fit"
    return f"{measure_memory(size, folder, cache, device):.0f}"


def peak(size: Size, folder: Path, cache: str, device: torch.device) -> float:
    """What `measure_memory` asks of its process."""
    benchmark, store = made_up(size), FeatureStore(folder)
    before = psutil.Process().memory_info().rss
    train = load_examples(benchmark, store, "train", device, cache)
    subject(size, "plain", train, False, False).epoch()
    # Not getrusage's: that begins with what the parent had when it started this process.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return (int(status["VmHWM"].split()[0]) * 1024 - before) / 1e6


@click.command()
@click.option("--videos", default=2213, show_default=True, help="Training videos.")
@click.option("--frames", default=200, show_default=True, help="Frames of a video.")
@click.option("--width", default=2048, show_default=True, help="Numbers of a frame.")
@click.option("--classes", default=157, show_default=True)
@click.option("--batch", default=128, show_default=True)
@click.option("--aggregator", default="nonlinear", show_default=True)
@click.option(
    "--cases",
    default=";".join(CASES),
    show_default=True,
    help="Divided by ;. AP and memory are measured with all.",
)
@click.option("--losses", is_flag=True, help="Measure a step of each loss, and nothing else.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--eval-videos", default=51239, show_default=True)
@click.option("--precision", default="auto", show_default=True)
@click.option("--gpu")
@click.option("--device")
@click.option("--memory-of", hidden=True)
@click.option("--store", type=click.Path(path_type=Path), hidden=True)
def main(
    cases: str,
    losses: bool,
    rounds: int,
    eval_videos: int,
    precision: str,
    gpu: str | None,
    device: str | None,
    memory_of: str | None,
    store: Path | None,
    **sizes: int,
) -> None:
    """Measure training on this machine."""
    size = Size(**sizes)  # type: ignore[arg-type]
    named = cases.split(";")
    if set(named) - set(CASES):
        raise click.BadParameter(f"{cases!r}; the cases are {'; '.join(CASES)}")
    chosen = choose_device(gpu, device)
    if memory_of is not None and store is not None:
        click.echo(json.dumps(peak(size, store, memory_of, chosen)))
        return
    exact = resolve_precision(precision, chosen)  # type: ignore[arg-type]
    click.echo(f"{size}\non {describe(chosen)}, {exact}, {torch.get_num_threads()} threads\n")
    if losses:
        _report_losses(size, rounds, chosen, exact == "bfloat16")
        return
    with tempfile.TemporaryDirectory() as name, arithmetic(chosen, exact == "bfloat16", False):
        _report(size, named, Path(name), chosen, rounds, exact == "bfloat16")
    if set(named) != set(CASES):
        return
    _report_losses(size, rounds, chosen, exact == "bfloat16")
    one, every = measure_evaluation(eval_videos, 1004, rounds)
    click.echo(
        f"\nAP of {eval_videos} x 1004: {one:.1f} times an argsort's speed on one core, "
        f"{every:.1f} times on all"
    )


def _report_losses(size: Size, rounds: int, device: torch.device, bfloat16: bool) -> None:
    with arithmetic(device, bfloat16, False):
        rows = loss_steps(LOSS_BATCH, LOSS_CLASSES, size.width, rounds, device, bfloat16)
    click.echo("\n" + tabulate(rows, ["loss", "step, ms", "over plain"]))


def _report(
    size: Size,
    cases: Sequence[str],
    root: Path,
    device: torch.device,
    rounds: int,
    bfloat16: bool,
) -> None:
    files = root / "npy"
    files.mkdir()
    write_features(size, root / "store", files)
    rows = measure_epochs(size, cases, root / "store", files, device, rounds, bfloat16)
    heads = ["", "epoch, s", "of ceiling, kept", "of ceiling, streamed"]
    click.echo(tabulate(rows, [*heads, "field / kept", "field / streamed"]))
    if set(cases) != set(CASES):
        return
    tenfold = Size(**{**vars(size), "videos": TENFOLD * size.videos})
    write_features(tenfold, root / "tenfold", None)
    modes = ["host", "stream"] if device.type == "cpu" else ["device", "host", "stream"]
    stores = ((size, root / "store"), (tenfold, root / "tenfold"))
    table = [[mode, *(_peak(s, f, mode, device) for s, f in stores)] for mode in modes]
    heads = ["cache", f"peak MB, {size.videos} videos", f"{tenfold.videos} videos"]
    click.echo("\n" + tabulate(table, heads))


if __name__ == "__main__":
    main()
