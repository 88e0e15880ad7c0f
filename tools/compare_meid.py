"""The paper's MEID, its authors' code, and each difference between the two switched alone.

    meid-bench build charadeslt --videos none
    python tools/compare_meid.py --root data --seeds 3

Trains on features simulated over a built benchmark's labels and times (tools/simulate_features.py),
small and on a short schedule, so that it fits a CPU; finished runs are not run again. Printed are
test mAP, overall and tail, the mean over seeds, and its difference from the authors' code with a
95 % interval: subjects of the test list and seeds are resampled together, the same for all rows.
What such features can tell and what not is said in docs/meid.md.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from simulate_features import Simulation, simulate
from tabulate import tabulate

from meid_bench.benchmark.benchmark import Benchmark, load_benchmark
from meid_bench.cli.options import root_option
from meid_bench.errors import DataError
from meid_bench.features.store import find_store
from meid_bench.results.metrics import average_precision, group_means
from meid_bench.results.record import load_scores
from meid_bench.training.request import Request, plan_run
from meid_bench.training.run import run

AUTHORS = "authors"
ROWS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    AUTHORS: ("meid-authors", {}),
    "attention per frame (A of eq. 3 with mean 1)": ("meid-authors", {"attention": "frame"}),
    "without FrameStack": ("meid-authors", {"ratio": 0.0}),
    "loss and prediction on the sum (eq. 14)": ("meid-authors", {"classified": "sum"}),
    "fusion along features (eq. 11)": ("meid-authors", {"fusion": "features"}),
    "paper": ("meid", {}),
}
SMALL = {"nextvlad": {"aggregator.clusters": 8, "aggregator.hidden": 64}}
CPU = torch.device("cpu")

Measures = NDArray[np.float64]  # overall and tail mAP


def scores_of(request: Request, root: Path) -> NDArray[np.float32]:
    """Test scores (N, C) of a run, trained unless it is there."""
    planned = plan_run(request, root)
    if not planned.finished:
        run(planned, CPU)
    return load_scores(planned.folder)[1]


def measured(benchmark: Benchmark, scores: NDArray[np.float32], rows: NDArray[Any]) -> Measures:
    """Overall and tail mAP of some test videos, a video as often as `rows` names it."""
    ap = average_precision(scores[rows], benchmark.labels("test")[rows])
    means = group_means(ap, benchmark.groups)
    return np.array([means["overall"], means["tail"]])


def resampled(
    benchmark: Benchmark, scores: Mapping[str, list[NDArray[np.float32]]], resamples: int
) -> dict[str, Measures]:
    """Measures of every row under each resample of subjects and seeds, (R, 2)."""
    random = np.random.default_rng(0)
    videos = benchmark.splits["test"]
    subjects: dict[str, list[int]] = {}
    for place, video in enumerate(videos):
        subjects.setdefault(video.subject or video.id, []).append(place)
    groups = list(subjects.values())
    seeds = len(next(iter(scores.values())))
    found: dict[str, list[Measures]] = {name: [] for name in scores}
    for _ in range(resamples):
        chosen = random.integers(len(groups), size=len(groups))
        rows = np.concatenate([groups[number] for number in chosen])
        drawn = random.integers(seeds, size=seeds)
        for name, of_seeds in scores.items():
            each = {seed: measured(benchmark, of_seeds[seed], rows) for seed in set(drawn.tolist())}
            found[name].append(np.mean([each[seed] for seed in drawn.tolist()], axis=0))
    return {name: np.stack(values) for name, values in found.items()}


def table(
    benchmark: Benchmark, scores: Mapping[str, list[NDArray[np.float32]]], resamples: int
) -> str:
    """Rows of means over seeds, and of differences from the authors' code with intervals."""
    everything = np.arange(len(benchmark.splits["test"]))
    draws = resampled(benchmark, scores, resamples)
    means = {
        name: np.mean([measured(benchmark, each, everything) for each in of_seeds], axis=0)
        for name, of_seeds in scores.items()
    }
    lines = []
    for name in scores:
        line = [name]
        for column in (0, 1):
            line.append(f"{means[name][column]:.3f}")
            if name == AUTHORS:
                line.append("")
                continue
            apart = draws[name][:, column] - draws[AUTHORS][:, column]
            low, high = np.percentile(apart, [2.5, 97.5])
            difference = means[name][column] - means[AUTHORS][column]
            line.append(f"{difference:+.3f} ({low:+.3f} .. {high:+.3f})")
        lines.append(line)
    heads = ["", "overall", "difference", "tail", "difference"]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)


@click.command()
@click.option("--dataset", default="charadeslt", show_default=True)
@click.option("--width", default=48, show_default=True, help="D of the simulated features.")
@click.option("--frames", default=8, show_default=True, help="T of the simulated features.")
@click.option("--epochs", default=10, show_default=True, help="Of each stage.")
@click.option("--rate", default=1e-3, show_default=True, help="Of both stages.")
@click.option("--batch", default=32, show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--resamples", default=200, show_default=True)
@click.option("--aggregators", default="nonlinear,nextvlad", show_default=True)
@root_option
def main(
    dataset: str,
    width: int,
    frames: int,
    epochs: int,
    rate: float,
    batch: int,
    seeds: int,
    resamples: int,
    aggregators: str,
    root: Path,
) -> None:
    """Train every row with every seed and print the tables."""
    benchmark = load_benchmark(dataset, root)
    try:
        find_store(root, benchmark, None)
    except DataError:
        simulate(benchmark, Simulation(0, width, frames), root)
    schedule = {"epochs": epochs, "milestones": (epochs * 2 // 3,), "batch": batch}
    for aggregator in aggregators.split(","):
        scores: dict[str, list[NDArray[np.float32]]] = {name: [] for name in ROWS}
        for seed in range(seeds):
            for name, (method, settings) in ROWS.items():
                own = {**schedule, "lr": rate, "lr2": rate, **SMALL.get(aggregator, {}), **settings}
                request = Request(method, dataset, aggregator, seed=seed, settings=own)
                scores[name].append(scores_of(request, root))
                click.echo(f"{aggregator} seed {seed} {name}", err=True)
        click.echo(f"\n{aggregator}\n\n{table(benchmark, scores, resamples)}")


if __name__ == "__main__":
    main()
