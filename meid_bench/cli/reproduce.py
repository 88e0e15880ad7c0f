"""`meid-bench reproduce`: re-run a table of the paper, and print it beside the paper's."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meid_bench.cli.options import (
    device_options,
    execution_options,
    names_in,
    numbers_in,
    protocol_option,
    root_option,
    stopping,
)

if TYPE_CHECKING:
    import torch

    from meid_bench.training.execution import Execution
    from meid_bench.training.reproduce import Reproduced, TableRequest
    from meid_bench.training.request import Plan


@click.command()
@click.argument("table")
@click.option("--seeds", default="0,1,2", show_default=True, metavar="N[,...]")
@click.option(
    "--splits",
    type=click.Choice(["official", "all"]),
    default="official",
    show_default=True,
    help="all: on the subject-disjoint lists (-sd) too, and the gain by the official ones' leak.",
)
@click.option("--dataset", metavar="NAME[,...]", help="Other benchmarks than the table's.")
@click.option("--aggregator", metavar="NAME[,...]", help="Others than the table's.")
@click.option("--features", help="Feature store to use, where there are several; A+B joins two.")
@click.option("--preset", help="For every row whose method has it; the others say so.")
@protocol_option
@click.option("--quick", is_flag=True, help="A tenth of the schedule; never on the board.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="For every run.")
@click.option("--allow-missing", default=0, metavar="N", help="Listed videos without features.")
@click.option(
    "--plan", is_flag=True, help="Print the runs, their settings and the time; run nothing."
)
@execution_options
@device_options
@root_option
def reproduce(
    table: str,
    seeds: str,
    splits: str,
    dataset: str | None,
    aggregator: str | None,
    settings: tuple[str, ...],
    plan: bool,
    execution: dict[str, Any],
    gpu: str | None,
    device: str | None,
    root: Path,
    **others: Any,
) -> None:
    """Re-run TABLE on the features that are there, and print it beside the paper's.

    TABLE is table1 to table7 of the paper, or supplement1, 2, 4 or 5; "3" and "s4" do as well.

    Finished runs are not run again; what is missing is said first, with the command that makes it.

    \b
    meid-bench reproduce table1
    meid-bench reproduce table3 --plan
    meid-bench reproduce table3 --gpu 0
    meid-bench reproduce table3 --quick --aggregator nextvlad,nonlinear --seeds 0
    meid-bench reproduce table5 --dataset charadeslt
    """
    from meid_bench.device import choose_devices
    from meid_bench.methods.settings import parse_assignments
    from meid_bench.training.execution import Execution
    from meid_bench.training.paper_table import STATISTICS, find_table
    from meid_bench.training.reproduce import TableRequest
    from meid_bench.training.reproduce_text import format_table1

    table = find_table(table)
    if table == STATISTICS:
        text, missing = format_table1(root)
        _print_missing(missing)
        click.echo(text)
        return
    asked = TableRequest(
        table=table,
        seeds=tuple(numbers_in(seeds, "--seeds")),
        datasets=tuple(names_in(dataset)),
        aggregators=tuple(names_in(aggregator)),
        all_splits=splits == "all",
        settings=parse_assignments(settings),
        **others,
    )
    devices, how = choose_devices(gpu, device), Execution(**execution)
    (_print_plan if plan else _run)(asked, root, devices, how)


def _run(
    asked: "TableRequest", root: Path, devices: "list[torch.device]", how: "Execution"
) -> None:
    from meid_bench.device import describe
    from meid_bench.distributed import find_ranks
    from meid_bench.results.published import table_title
    from meid_bench.training.many import failed_sentence, run_on_each
    from meid_bench.training.reproduce import available
    from meid_bench.training.reproduce import reproduce as run_table

    title = table_title(asked.table)
    parts, missing = available(asked, root)
    _print_missing(missing)
    if not parts:
        raise click.ClickException(f"Nothing of {title} can be run; see above for what is missing")
    if find_ranks().size > 1:
        raise click.UsageError("reproduce uses several devices by itself: --gpu 0,1 in one process")
    click.echo(f"{title} on {', '.join(map(describe, devices))}")
    with stopping():
        reproduced, outcomes = run_table(
            asked, parts, lambda requests: run_on_each(requests, root, devices, how, click.echo)
        )
    _print_tables(reproduced, asked)
    if failed := failed_sentence(outcomes):
        raise click.ClickException(failed)


def _print_plan(
    asked: "TableRequest", root: Path, devices: "list[torch.device]", how: "Execution"
) -> None:
    from meid_bench.device import describe
    from meid_bench.results.published import table_title
    from meid_bench.training.pace import run_seconds
    from meid_bench.training.table_plan import format_plan, plan_table

    def seconds_of(label: str, planned: "Plan") -> float:
        click.echo(f"Measuring a few steps of {label}", err=True)
        return run_seconds(planned, devices[0], how)

    planned = plan_table(asked, root, seconds_of)
    click.echo(format_plan(planned, table_title(asked.table), list(map(describe, devices))))


def _print_tables(reproduced: "list[Reproduced]", asked: "TableRequest") -> None:
    from meid_bench.training.leak import format_leak, leaks
    from meid_bench.training.reproduce_text import format_reproduced

    for one in (one for one in reproduced if one.rows):
        click.echo("\n" + format_reproduced(one, asked))
    for leak in leaks(reproduced):
        click.echo("\n" + format_leak(leak))


def _print_missing(missing: list[str]) -> None:
    for sentence in missing:
        click.echo(f"Missing: {sentence}", err=True)
