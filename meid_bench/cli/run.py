"""`meid-bench run`: train a method on features, and record the result."""

from collections.abc import Sequence
from dataclasses import replace
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
    from meid_bench.results.record import Result
    from meid_bench.training.execution import Execution
    from meid_bench.training.request import Plan, Request


@click.command()
@click.option(
    "--method",
    "methods",
    required=True,
    metavar="NAME[,...]",
    help="Registered name, or module:Class; several with commas; all registered ones: all.",
)
@click.option("--dataset", default="charadeslt", show_default=True, help="A built benchmark.")
@click.option(
    "--aggregator",
    default="nextvlad",
    show_default=True,
    help="From frames to a video: nonlinear, netvlad or nextvlad.",
)
@click.option(
    "--network",
    default="own",
    show_default=True,
    help="e1: the method's loss on MEID's first expert's network.",
)
@click.option(
    "--seeds",
    "--seed",
    default="0",
    show_default=True,
    metavar="N[,...]",
    help="Of everything random; a run for each.",
)
@click.option("--features", help="Feature store to use, where there are several; A+B joins two.")
@click.option("--preset", help="A preset of the method, or 'default'.")
@protocol_option
@click.option("--quick", is_flag=True, help="A tenth of the schedule; never on the board.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--allow-missing", default=0, metavar="N", help="Listed videos without features.")
@click.option("--again", is_flag=True, help="Train anew what has a record already.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard events beside the record.")
@click.option("--part", metavar="I/N", help="Of several runs only part I of N: one a machine.")
@execution_options
@device_options
@root_option
def run(
    methods: str,
    seeds: str,
    settings: tuple[str, ...],
    tensorboard: bool,
    part: str | None,
    execution: dict[str, Any],
    gpu: str | None,
    device: str | None,
    root: Path,
    **asked: Any,
) -> None:
    """Train methods on a benchmark's features; the epoch is chosen on val, never on test.

    \b
    meid-bench run --method meid
    meid-bench run --method meid --set beta=0.3 --set batch=64 --seed 1
    meid-bench run --method ldam,eql,meid --seeds 0,1,2
    meid-bench run --method my_module:MyMethod --aggregator nonlinear
    torchrun --nproc-per-node 4 -m meid_bench run --method meid

    The same command goes on with an interrupted run, and leaves out finished ones, unless the
    method's code is another by now (its source is part of a run's name) or with --again; of several
    runs, one that fails stops no other. With --gpu 0,1 there is one run on each at a time. Under
    torchrun a single run is shared by all processes; of several, each process takes its own.
    """
    from meid_bench.methods.settings import parse_assignments
    from meid_bench.training.execution import Execution
    from meid_bench.training.many import expand, part_of
    from meid_bench.training.request import Request

    base = Request(method="", settings=parse_assignments(settings), **asked)
    requests = expand(base, names_in(methods), numbers_in(seeds, "--seeds"))
    how = Execution(**execution)
    if len(requests) == 1 and part is None:
        _run_one(requests[0], root, how, tensorboard, gpu, device)
    else:
        _run_several(part_of(requests, part), root, how, tensorboard, gpu, device)


def _run_one(
    request: "Request",
    root: Path,
    execution: "Execution",
    tensorboard: bool,
    gpu: str | None,
    device: str | None,
) -> None:
    from meid_bench.device import describe
    from meid_bench.distributed import joined_device
    from meid_bench.training.many import kept_sentence
    from meid_bench.training.request import plan_run
    from meid_bench.training.run import run
    from meid_bench.training.watching import curve_log

    with joined_device(gpu, device) as (chosen, first):
        say = click.echo if first else lambda line: None
        planned = plan_run(request, root)
        if planned.finished:
            say("This very run is there already; nothing to do.")
        else:
            title = planned.benchmark.title
            say(f"{title}: {request.method} with {request.aggregator} on {describe(chosen)}")
        with (
            stopping(lambda: kept_sentence(planned)),
            curve_log(planned, tensorboard and first, first) as log,
        ):
            result = run(planned, chosen, log, execution, say)
    if first:
        _print_result(planned, result)
        click.echo(f"Next: meid-bench leaderboard --dataset {request.dataset}")


def _run_several(
    requests: Sequence["Request"],
    root: Path,
    execution: "Execution",
    tensorboard: bool,
    gpu: str | None,
    device: str | None,
) -> None:
    from meid_bench.device import choose_devices, describe, device_of_rank
    from meid_bench.distributed import find_ranks
    from meid_bench.training.many import failed_sentence, run_on_each

    devices, ranks = choose_devices(gpu, device), find_ranks()
    if ranks.size > 1:
        requests = requests[ranks.rank :: ranks.size]
        named = gpu is not None or device is not None
        devices = [device_of_rank(devices, named, ranks.local)]
        execution = replace(execution, neighbours=ranks.local_size)
    click.echo(f"{len(requests)} runs on {', '.join(map(describe, devices))}")
    with stopping():
        outcomes = run_on_each(
            requests, root, devices, execution, click.echo, tensorboard, ranks.size == 1
        )
    if failed := failed_sentence(outcomes):
        raise click.ClickException(failed)
    if requests:
        click.echo(f"Next: meid-bench leaderboard --dataset {requests[0].dataset}")


def _print_result(planned: "Plan", result: "Result") -> None:
    from meid_bench.number_text import score_text
    from meid_bench.results.board_text import metrics_line

    for warning in result.warnings:
        click.echo(f"Warning: {warning}", err=True)
    click.echo(f"Test mAP {metrics_line(result.test)}, epoch {result.epoch} chosen on val")
    if result.trials:
        click.echo("Tried, with val mAP:")
        for trial in result.trials:
            settings = " ".join(f"{name}={value:g}" for name, value in trial.settings.items())
            click.echo(f"  {score_text(trial.val_map)}  {settings}")
    if result.quick:
        click.echo("A tenth of the schedule: this record never enters the board.")
    if result.features.untrained:
        click.echo("The encoder was untrained: these numbers say nothing of real features.")
    click.echo(f"Record: {planned.folder}")
