"""Measure extraction against its parts: decoding alone, encoding alone, and the naive loop.

    python tools/bench_extract.py [--device cuda:0] [--videos 8] [--rounds 3]
    python tools/bench_extract.py --encoder torchvision:mvit_v2_s --frames 16
    python tools/bench_extract.py --memory        peak memory of 130 and of 520 videos

Videos are generated: 480p, H.264, 30 s. Everything is measured in one run, interleaved, and
medians of the rounds are printed: on a machine that does other work too, all parts suffer alike.
CPU seconds are those of this process and of its decoders.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import av
import click
import numpy as np
import psutil
import torch
from bench_videos import SIZE, links, make_video
from numpy.typing import NDArray
from tabulate import tabulate

from meid_bench.cores import cores
from meid_bench.device import choose_device, describe
from meid_bench.errors import DataError
from meid_bench.features import pipeline
from meid_bench.features.decode_pool import DecodePool, DecodeSettings, DecodeTask, decode_into
from meid_bench.features.decoders import decoder_version
from meid_bench.features.encode_stage import EncodeStage
from meid_bench.features.encoder import Encoder, load_encoder
from meid_bench.features.frames import DecodedFrames, FrameRule
from meid_bench.features.ledger import ShardPlan
from meid_bench.features.listed_videos import ListedVideos
from meid_bench.features.pipeline import Partition, extract_partition
from meid_bench.features.shard import shards

DISTINCT = 4
# Both fill several shards.
MEMORY_VIDEOS, MEMORY_SECONDS = (130, 520), 4.0


@dataclass(frozen=True)
class Cost:
    """What one thing took, per video: seconds on the clock and seconds of processors."""

    wall: float
    cpu: float


class MeasuredPool(DecodePool):
    """A pool that remembers what its workers took when it is closed."""

    cpu = 0.0

    def __exit__(self, *error: object) -> None:
        """Read the workers' clocks before they are gone."""
        MeasuredPool.cpu = sum(process_seconds(process) for process in self.processes)
        super().__exit__(*error)


def process_seconds(process: int) -> float:
    """CPU seconds of another process."""
    times = psutil.Process(process).cpu_times()
    return float(times.user + times.system)


@contextmanager
def measured(videos: int, others: Callable[[], float] = lambda: 0.0) -> Iterator[list[Cost]]:
    """Measure a block that does `videos`; `others` gives the CPU seconds of other processes."""
    costs: list[Cost] = []
    wall, cpu = time.perf_counter(), time.process_time()
    yield costs
    spent = time.process_time() - cpu + others()
    costs.append(Cost((time.perf_counter() - wall) / videos, spent / videos))


def decode_pool(settings: DecodeSettings, paths: list[Path], workers: int) -> Cost:
    """The decoder pool alone; its start is not counted."""
    with MeasuredPool(settings, workers, workers + 2) as pool:
        run_pool(pool, paths[:1])
        before = sum(map(process_seconds, pool.processes))
        with measured(
            len(paths), lambda: sum(map(process_seconds, pool.processes)) - before
        ) as costs:
            run_pool(pool, paths)
    return costs[0]


def run_pool(pool: DecodePool, paths: list[Path]) -> None:
    """Decode every path once."""
    waiting = list(paths)
    while waiting or pool.busy:
        while waiting and pool.hungry:
            path = waiting.pop()
            pool.submit(DecodeTask(path.stem, path))
        for result in pool.results(1):
            assert isinstance(result.decoded, DecodedFrames), result.decoded
            pool.release(result)
            if following := after(result.task, result.decoded, pool.settings):
                pool.submit(following)


def after(task: DecodeTask, decoded: DecodedFrames, settings: DecodeSettings) -> DecodeTask | None:
    """The next pass over a video, if it needs one."""
    end = task.first + len(decoded.clips)
    return replace(task, first=end) if end < settings.rule.frames else None


def decode_here(
    settings: DecodeSettings, path: Path
) -> Iterator[tuple[DecodeTask, DecodedFrames, NDArray[np.uint8]]]:
    """Decode a video in this process, pass after pass; their pictures are valid until the next."""
    slot = np.zeros(settings.slot_shape, np.uint8)
    task: DecodeTask | None = DecodeTask("a", path)
    while task is not None:
        decoded = decode_into(slot, task, settings)
        assert isinstance(decoded, DecodedFrames), decoded
        yield task, decoded, slot
        task = after(task, decoded, settings)


def encode(encoder: Encoder, settings: DecodeSettings, path: Path, videos: int) -> Cost:
    """The encoder alone, on frames that are ready."""
    ready = [(task, decoded, slot.copy()) for task, decoded, slot in decode_here(settings, path)]
    threads = cores() if encoder.device.type == "cpu" else 1
    with measured(videos) as costs, EncodeStage(encoder, threads, lambda *_: None) as stage:
        for _ in range(videos):
            for decoded in ready:
                stage.add(*decoded)
        stage.flush()
    return costs[0]


def naive(encoder: Encoder, path: Path, rule: FrameRule) -> Cost:
    """Every frame to RGB, then the wanted ones, one row after the other, in float32.

    In one thread: on a machine that does other work too, two of torch's wait for each other in
    loops that count as work.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with measured(1) as costs:
        with av.open(str(path)) as container:
            images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        for clip in replace(rule, room=rule.frames * rule.length).clips(len(images)):
            encoder.launch(torch.stack([encoder.transform.picture(images[i]) for i in clip]))()
    torch.set_num_threads(threads)
    return costs[0]


def whole(encoder: Encoder, settings: DecodeSettings, paths: list[Path], workers: int) -> Cost:
    """The pipeline, from paths to shards; with its processes' start."""
    ids = [path.stem for path in paths]
    plans = tuple(ShardPlan(number, part, len(part)) for number, part in shards(ids).items())
    with tempfile.TemporaryDirectory() as folder:
        videos = ListedVideos(
            paths[0].parent, dict(zip(ids, paths, strict=True)), "made", settings.decoder
        )
        partition = Partition(
            Path(folder), videos, plans, settings.rule.frames, settings.timeout, workers
        )
        with (
            mock.patch.object(pipeline, "DecodePool", MeasuredPool),
            measured(len(paths), lambda: MeasuredPool.cpu) as costs,
        ):
            extract_partition(partition, encoder, lambda line: None)
    return costs[0]


def one_decoder(settings: DecodeSettings, path: Path) -> Cost | None:
    """One video in this very process; None where the decoder is not there."""
    try:
        decoder_version(settings.decoder)
    except DataError:
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with measured(1) as costs:
        for _ in decode_here(settings, path):
            pass
    torch.set_num_threads(threads)
    return costs[0]


def every_frame(path: Path) -> Cost:
    """Decode every frame to RGB."""
    with measured(1) as costs, av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frame.to_ndarray(format="rgb24")
    return costs[0]


def print_peak(folder: Path, videos: int) -> None:
    """Extract `videos` videos in this process; print its peak memory and its workers', MB."""
    # What grows, if anything, is not the model: a small one is quickly done.
    encoder = load_encoder("shufflenet_v2_x0_5", "random:0")
    settings = DecodeSettings(encoder.rule(200), encoder.transform)
    peaks: list[int] = []

    class Watched(MeasuredPool):
        def __exit__(self, *error: object) -> None:
            peaks.extend(high_water(process) for process in self.processes)
            super().__exit__(*error)

    with mock.patch.object(sys.modules[__name__], "MeasuredPool", Watched):
        whole(encoder, settings, sorted(folder.glob("*.mp4"))[:videos], cores())
    click.echo(f"peak {high_water(os.getpid())} {max(peaks)}")


def high_water(process: int) -> int:
    """Peak resident memory of a process, MB."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0


def measure_memory(folder: Path) -> None:
    """Print the peak memory of extracting few and many videos."""
    (folder / "made").mkdir()
    made = [folder / "made" / f"{seed}.mp4" for seed in range(DISTINCT)]
    for seed, path in enumerate(made):
        make_video(path, MEMORY_SECONDS, seed)
    links(folder, made, MEMORY_VIDEOS[-1])
    rows = []
    for videos in MEMORY_VIDEOS:
        command = [sys.executable, __file__, "--peak-of", str(folder), str(videos)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks = next(line for line in output.splitlines() if line.startswith("peak ")).split()
        rows.append([videos, *map(int, peaks[1:])])
    click.echo(tabulate(rows, ["videos", "main process, MB", "largest decoder, MB"]))


def median(costs: list[Cost]) -> Cost:
    """The middle one of several rounds, clock and processors apart."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
    )


def measure(
    folder: Path, device: torch.device, name: str, frames: int, videos: int, rounds: int
) -> dict[str, Cost]:
    """Measure every part `rounds` times, in turn; the medians by name."""
    (folder / "made").mkdir()
    made = [folder / "made" / f"{seed}.mp4" for seed in range(DISTINCT)]
    for seed, path in enumerate(made):
        make_video(path, 30, seed)
    paths = links(folder, made, videos)
    encoder = load_encoder(name, "random:0", device)
    plain = load_encoder(name, "random:0", device, "float32")
    settings = {
        decoder: DecodeSettings(encoder.rule(frames), encoder.transform, decoder)
        for decoder in ("pyav", "decord", "torchcodec")
    }
    ours = settings["pyav"]
    costs: dict[str, list[Cost]] = {}
    for number in range(rounds):
        path = made[number % DISTINCT]
        parts: dict[str, Cost | None] = {
            "pool of decoders (D)": decode_pool(ours, paths, cores()),
            "one decoder (D1)": one_decoder(ours, path),
            "decord get_batch": one_decoder(settings["decord"], path),
            "torchcodec": one_decoder(settings["torchcodec"], path),
            "every frame to RGB": every_frame(path),
            "encoder alone (M)": encode(encoder, ours, path, max(2, videos // 4)),
            "naive loop": naive(plain, path, ours.rule),
            "pipeline": whole(encoder, ours, paths, cores()),
        }
        for part, cost in parts.items():
            if cost is not None:
                costs.setdefault(part, []).append(cost)
        click.echo(f"round {number + 1} of {rounds} done", err=True)
    return {part: median(of_part) for part, of_part in costs.items()}


def report(costs: dict[str, Cost], device: torch.device) -> None:
    """Print the table and what follows from it."""
    rows = [[part, 1 / cost.wall, cost.cpu] for part, cost in costs.items()]
    headers = ["part", "videos/s", "CPU s/video"]
    click.echo(tabulate(rows, headers, floatfmt=".3g"))
    pool, encoder = costs["pool of decoders (D)"], costs["encoder alone (M)"]
    achieved, loop = costs["pipeline"], costs["naive loop"]
    if device.type == "cpu":
        bound = cores() / (pool.cpu + encoder.cpu)
        click.echo(f"\nefficiency: {1 / achieved.wall / bound:.2f} of cores / CPU seconds")
        # What the same parts reach on the clock, on a machine that others use too.
        shared = 1 / (pool.wall + encoder.wall)
        click.echo(f"efficiency: {1 / achieved.wall / shared:.2f} of the parts one after the other")
    else:
        bound = min(1 / pool.wall, 1 / encoder.wall)
        click.echo(f"\nefficiency: {1 / achieved.wall / bound:.2f} of the slower of D and M")
    click.echo(f"against the naive loop: {loop.wall / achieved.wall:.1f} times the videos/s")
    click.echo(f"against the naive loop: {loop.cpu / achieved.cpu:.1f} times fewer CPU seconds")


@click.command()
@click.option("--device", help="Where to encode; chosen where left out.")
@click.option("--encoder", default="resnet101", show_default=True)
@click.option("--frames", default=200, show_default=True, help="T: frames, or clips.")
@click.option("--videos", default=8, show_default=True, help="In each run of the pipeline.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--memory", is_flag=True, help="Measure peak memory instead.")
@click.option("--peak-of", type=(click.Path(path_type=Path), int), hidden=True)
def main(
    device: str | None,
    encoder: str,
    frames: int,
    videos: int,
    rounds: int,
    memory: bool,
    peak_of: tuple[Path, int] | None,
) -> None:
    """Measure extraction against its parts."""
    if peak_of is not None:
        print_peak(*peak_of)
        return
    with tempfile.TemporaryDirectory() as folder:
        if memory:
            measure_memory(Path(folder))
            return
        chosen = choose_device(None, device)
        click.echo(
            f"{describe(chosen)}, torch {torch.__version__}, {encoder}, {frames} frames of "
            f"{SIZE[0]} x {SIZE[1]} H.264 videos of 30 s, load {os.getloadavg()[0]:.1f} at start"
        )
        report(measure(Path(folder), chosen, encoder, frames, videos, rounds), chosen)


if __name__ == "__main__":
    main()
