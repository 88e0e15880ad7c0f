"""Table 1's row as text, for the commands that print it."""

import click
from tabulate import tabulate

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.benchmark.table1 import compare


def print_table1(benchmark: Benchmark) -> None:
    """Print every number of the benchmark's row, beside the paper's where there is one."""
    numbers = compare(benchmark.statistics(), benchmark.expected)
    marks = {True: "yes", False: "NO", None: ""}
    if benchmark.expected is None:
        rows = [(number.name, number.found) for number in numbers]
        click.echo(tabulate(rows, headers=("", "built"), disable_numparse=True))
        return
    click.echo(
        tabulate(
            [(n.name, n.found, n.expected, marks[n.agrees]) for n in numbers],
            headers=("", "built", "expected", "agrees"),
            disable_numparse=True,
            colalign=("left", "right", "right", "left"),
        )
    )
