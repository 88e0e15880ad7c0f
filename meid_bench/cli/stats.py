"""`meid-bench stats`: a built benchmark in numbers, and as a picture."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meid_bench.cli.options import root_option

if TYPE_CHECKING:
    from meid_bench.benchmark.benchmark import Benchmark


@click.command()
@click.argument("dataset")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="Draw videos per class, sorted, the bins shaded.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, class counts included.")
@root_option
def stats(dataset: str, plot: Path | None, as_json: bool, root: Path) -> None:
    """Print DATASET's row of Table 1 beside the paper's, number by number.

    DATASET is the name of a built benchmark.

    \b
    meid-bench stats charadeslt --plot charadeslt.png
    """
    from meid_bench.benchmark.benchmark import load_benchmark

    benchmark = load_benchmark(dataset, root)
    if as_json:
        click.echo(json.dumps(_as_json(benchmark), indent=2))
    else:
        click.echo(f"{benchmark.title}\n")
        print_table1(benchmark)
        click.echo(f"\nfingerprint {benchmark.fingerprint}")
    if plot is not None:
        from meid_bench.benchmark.statistics_plot import plot_classes

        plot_classes(benchmark, plot)
        click.echo(f"Drawn: {plot}", err=True)


def print_table1(benchmark: "Benchmark") -> None:
    """Print every number of the benchmark's row, beside the paper's where there is one."""
    from tabulate import tabulate

    from meid_bench.benchmark.longtail import table1_row

    marks = {True: "yes", False: "NO", None: ""}
    row = table1_row(benchmark.statistics(), benchmark.expected)
    cells = [(number.name, number.built, number.expected, marks[number.agrees]) for number in row]
    columns = 4 if benchmark.expected is not None else 2
    click.echo(
        tabulate(
            [cell[:columns] for cell in cells],
            headers=("", "built", "expected", "agrees")[:columns],
            disable_numparse=True,
            colalign=("left", "right", "right", "left")[:columns],
        )
    )


def _as_json(benchmark: "Benchmark") -> dict[str, Any]:
    from dataclasses import asdict

    from meid_bench.benchmark.benchmark import SPLITS
    from meid_bench.benchmark.longtail import table1_row

    built, expected = benchmark.statistics(), benchmark.expected
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "fingerprint": benchmark.fingerprint,
        "bins": asdict(benchmark.bins),
        "statistics": asdict(built),
        "expected": None if expected is None else asdict(expected),
        "agrees": None if expected is None else all(n.agrees for n in table1_row(built, expected)),
        "classes": list(benchmark.classes),
        "videos_per_class": {split: benchmark.counts_in(split).tolist() for split in SPLITS},
    }
