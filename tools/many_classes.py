"""Whether MEID learns at any number of classes: the distillation's share of the gradient, and mAP.

    python tools/many_classes.py
    python tools/many_classes.py --classes 157 --frames 8 --distances mean,norm

For each number of classes, made-up videos with a long tail are trained on with every form of
eq. 7's distance and without distillation, 6 + 6 epochs, one seed. Printed are the largest share of
the gradient that the distillation had after an epoch of each stage, and the test mAP.

A video is the sum of its labels' directions, a few labels out of C whose frequency falls a hundred
times from the first to the last, and noise. What learns on it need not learn on real videos; what
does not learn here, where a linear layer would do, learns nowhere.
"""

from dataclasses import dataclass

import click
import numpy as np
import torch
from tabulate import tabulate

from meid.method import MEID, MEIDConfig
from meid_bench.benchmark.longtail import Bins
from meid_bench.methods.aggregators import NonlinearConfig, aggregator_maker
from meid_bench.methods.method import Task
from meid_bench.methods.settings import RunnerConfig, changed
from meid_bench.results.metrics import average_precision, group_means
from meid_bench.results.record import CurvePoint
from meid_bench.training.data import Examples
from meid_bench.training.fit import Training, fit, point_scores
from meid_bench.training.scoring import predict_scores

LABELS = 3  # of a video, at least one
NOISE = 2.0  # length of the noise, that of a class's direction being 1
CPU = torch.device("cpu")
SCHEDULE = {"epochs": 6, "milestones": (3, 5)}


@dataclass(frozen=True)
class World:
    """Made-up videos: N of T frames of D numbers, with labels among C classes."""

    classes: int
    frames: int
    width: int
    seed: int = 0

    def examples(self, videos: int, part: int) -> Examples:
        """Videos of one part: "train", "val" and "test" are 0, 1 and 2."""
        random = np.random.default_rng([self.seed, part])
        directions = np.random.default_rng(self.seed).normal(size=(self.classes, self.width))
        directions /= np.sqrt(self.width)
        chance = np.geomspace(1, 0.01, self.classes)
        labels = np.zeros((videos, self.classes), dtype=np.uint8)
        drawn = random.choice(self.classes, size=(videos, LABELS), p=chance / chance.sum())
        np.put_along_axis(labels, drawn, 1, axis=1)
        noise = random.normal(size=(videos, self.frames, self.width)) / np.sqrt(self.width)
        features = (labels @ directions)[:, None] + NOISE * noise
        values = torch.from_numpy(features.astype(np.float16))
        return Examples(tuple(map(str, range(videos))), labels, values, CPU)


def train(
    world: World, sizes: tuple[int, int], batch: int, settings: dict[str, object]
) -> list[float]:
    """The largest share in each stage, then test mAP: overall, head, medium, tail."""
    train, val, test = (
        world.examples(count, part) for part, count in enumerate((sizes[0], *[sizes[1]] * 2))
    )
    counts = train.labels.sum(0, dtype=np.int64)
    groups = Bins.thirds(counts).groups(counts)
    task = Task(
        world.width,
        tuple(map(int, counts)),
        {name: tuple(map(int, index)) for name, index in groups.items()},
        world.frames,
        sizes[0],
    )
    torch.manual_seed(world.seed)
    make = aggregator_maker("nonlinear", NonlinearConfig(), world.frames)
    method = MEID(task, changed(MEIDConfig(), {**SCHEDULE, **settings}), make)
    points: list[CurvePoint] = []
    score = point_scores(val.labels, groups)
    runner = RunnerConfig(batch=batch)
    fit(Training(method, train, val, score, runner, world.seed, points.append, bfloat16=True))
    shares = [
        max(p.diagnostics.get("distillation_share") or 0.0 for p in points if p.stage == stage.name)
        for stage in method.stages()
    ]
    means = group_means(average_precision(predict_scores(method, test, 128), test.labels), groups)
    return shares + [means[name] for name in ("overall", "head", "medium", "tail")]


@click.command()
@click.option("--classes", default="14,157,1004,3777", show_default=True)
@click.option("--distances", default="mean,norm,unit,off", show_default=True)
@click.option("--frames", default=1, show_default=True)
@click.option("--width", default=256, show_default=True)
@click.option("--videos", default=3000, show_default=True, help="In training.")
@click.option("--batch", default=32, show_default=True)
@click.option("--eval-videos", default=1000, show_default=True, help="In val, and in test.")
def main(
    classes: str,
    distances: str,
    frames: int,
    width: int,
    videos: int,
    batch: int,
    eval_videos: int,
) -> None:
    """Print a row for each number of classes and form of the distance."""
    rows: list[list[object]] = []
    for count in map(int, classes.split(",")):
        for distance in distances.split(","):
            off = {"lambda1": 0.0, "lambda2": 0.0}
            settings: dict[str, object] = {"distance": distance} if distance != "off" else off
            found = train(World(count, frames, width), (videos, eval_videos), batch, settings)
            rows.append([count, distance, *(f"{value:.3f}" for value in found)])
            click.echo("  ".join(map(str, rows[-1])), err=True)
    heads = ["C", "distance", "share, stage 1", "stage 2", "overall", "head", "medium", "tail"]
    click.echo(tabulate(rows, heads, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
