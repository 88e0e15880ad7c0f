"""Simulate frame features over a built benchmark's own labels and times.

    python tools/simulate_features.py charadeslt --width 128 --frames 40

Where videos cannot be had, this makes a feature store that looks to every method as an extracted
one does: something to train on at a benchmark's real size, with its real long tail. It shows what
trains, how long it takes and that tables come out. It does not show which method is better on
real videos, and its constants, below, were set once and never by a method's result.

A frame at time t of a video is the positive part of

    SCENE * scene  +  sum over the classes that happen at t of
                      (OBJECT * object(class) + MOTION * motion(class, t - start))  +  NOISE * noise

- scene: one direction for the subject and one for the video, the same in every frame.
- object: one direction for the last word of a class's name, one for the class itself. "Juggling
  some apples" and "Washing some apples" look alike.
- motion: a turn in a plane of the first word's own, at the verb's own pace: only neighbouring
  frames tell it.
- An action is visible in a frame of its interval with probability VISIBLE. A label without times
  (a benchmark without intervals) is given one random interval of a fifth to a half of the video.

Directions and noise are normal with unit variance per dimension, directions over sqrt(width / 16),
so that a class's part is as long at any width and noise the harder the wider. The board and every
run mark the store as untrained.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.annotation import Annotation, Interval
from meid_bench.benchmark.benchmark import SPLITS, Benchmark, load_benchmark
from meid_bench.cli.options import root_option
from meid_bench.errors import MeidBenchError
from meid_bench.features.manifest import Recipe, make_manifest
from meid_bench.features.shard import VideoFeatures
from meid_bench.features.store import write_store
from meid_bench.files import features_dir
from meid_bench.progress import Progress

FRAME_RATE = 24.0  # of the frame numbers that are written down


@dataclass(frozen=True)
class Simulation:
    """What the features depend on besides the annotations; its hash is part of the fingerprint."""

    seed: int
    width: int
    frames: int
    scene: float = 1.0
    object: float = 0.7
    motion: float = 0.5
    noise: float = 1.0
    visible: float = 0.6
    version: int = 1


class Simulator:
    """Frame features of a video, the same for a seed, an id and its annotation."""

    def __init__(self, simulation: Simulation, classes: tuple[str, ...]) -> None:
        self.simulation = simulation
        words = [name.split() or [""] for name in classes]
        self.objects = np.stack(
            [
                self._direction("object", parts[-1]) + self._direction("class", name)
                for parts, name in zip(words, classes, strict=True)
            ]
        ) / np.sqrt(2)
        self.planes = np.stack(
            [[self._direction("plane", parts[0], side) for side in ("a", "b")] for parts in words]
        )
        self.paces = np.array([1 + 2 * self._random("pace", parts[0]).random() for parts in words])

    def features(self, video: Annotation) -> NDArray[np.float16]:
        """(T, D) float16."""
        simulation = self.simulation
        random = self._random("video", video.id)
        length = video.length or 30.0
        times = (np.arange(simulation.frames) + 0.5) / simulation.frames * length
        who = self._direction("subject", video.subject or video.id)
        scene = (who + self._direction("video", video.id)) / np.sqrt(2)
        frames = simulation.noise * random.normal(size=(simulation.frames, simulation.width))
        frames += simulation.scene * scene
        for interval in video.intervals or self._made_up(video, length, random):
            frames += self._action(interval, times, random)
        return np.maximum(frames, 0).astype(np.float16)

    def _action(
        self, interval: Interval, times: NDArray[np.float64], random: np.random.Generator
    ) -> NDArray[np.float64]:
        simulation = self.simulation
        happens = (times >= interval.start) & (times <= interval.end)
        # An action shorter than the time between two frames shows in the nearest one.
        happens[np.abs(times - (interval.start + interval.end) / 2).argmin()] = True
        seen = happens & (random.random(len(times)) < simulation.visible)
        turn = 2 * np.pi * self.paces[interval.label] * (times - interval.start)
        circle = np.stack([np.cos(turn), np.sin(turn)], axis=1) @ self.planes[interval.label]
        part = simulation.object * self.objects[interval.label] + simulation.motion * circle
        return seen[:, None] * part

    def _made_up(
        self, video: Annotation, length: float, random: np.random.Generator
    ) -> tuple[Interval, ...]:
        shares = random.uniform(0.2, 0.5, size=len(video.labels))
        starts = random.random(len(video.labels)) * (1 - shares)
        return tuple(
            Interval(label, start * length, (start + share) * length)
            for label, start, share in zip(video.labels, starts, shares, strict=True)
        )

    def _direction(self, *names: str) -> NDArray[np.float64]:
        width = self.simulation.width
        return self._random(*names).normal(size=width) * np.sqrt(16 / width)

    def _random(self, *names: str) -> np.random.Generator:
        text = "\t".join([str(self.simulation.seed), *names])
        return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def simulate(benchmark: Benchmark, simulation: Simulation, root: Path) -> Path:
    """Write the store of one benchmark; returns its folder."""
    constants = json.dumps(asdict(simulation), sort_keys=True)
    recipe = Recipe(
        encoder="simulated",
        weights_sha256=hashlib.sha256(constants.encode()).hexdigest(),
        transform=constants,
        frames=simulation.frames,
        width=simulation.width,
        source="annotations",
    )
    manifest = make_manifest(benchmark, recipe, weights=f"seed{simulation.seed}", untrained=True)
    folder = features_dir(root, benchmark.name) / manifest.store_name
    write_store(folder, manifest, benchmark.all_ids(), _items(benchmark, simulation))
    return folder


def _items(benchmark: Benchmark, simulation: Simulation) -> Iterator[VideoFeatures]:
    simulator = Simulator(simulation, benchmark.classes)
    videos = {video.id: video for split in SPLITS for video in benchmark.splits[split]}
    with Progress(len(videos), f"simulate {benchmark.name}", "videos") as progress:
        for name in sorted(videos):
            length = videos[name].length or 30.0
            count = max(round(length * FRAME_RATE), 1)
            index = ((np.arange(simulation.frames) + 0.5) * count / simulation.frames).astype(int)
            yield VideoFeatures(
                id=name,
                features=simulator.features(videos[name]),
                frame_index=index.astype(np.int32),
                frame_time=(index / FRAME_RATE).astype(np.float32),
                num_frames=count,
            )
            progress.update()


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option(
    "--width", type=click.IntRange(1), default=128, show_default=True, help="D, numbers per frame."
)
@click.option(
    "--frames", type=click.IntRange(1), default=40, show_default=True, help="T, frames per video."
)
@click.option("--seed", default=0, show_default=True)
@root_option
def main(datasets: tuple[str, ...], width: int, frames: int, seed: int, root: Path) -> None:
    """Simulate the features of built benchmarks."""
    try:
        for name in datasets:
            simulation = Simulation(seed, width, frames)
            click.echo(simulate(load_benchmark(name, root), simulation, root))
    except MeidBenchError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
