"""`meid-bench run`: train a method on features, and record the result."""

from pathlib import Path
from typing import Any

import click

from meid_bench.cli.device_options import device_options
from meid_bench.cli.execution_options import execution_options
from meid_bench.cli.root_option import root_option


@click.command()
@click.option("--method", required=True, help="Registered name, or module:Class.")
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
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
@click.option("--features", help="Feature store to use, where there are several.")
@click.option("--preset", help="A preset of the method, or 'default'.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--allow-missing", default=0, metavar="N", help="Listed videos without features.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard events beside the record.")
@execution_options
@device_options
@root_option
def run(
    method: str,
    dataset: str,
    aggregator: str,
    network: str,
    seed: int,
    features: str | None,
    preset: str | None,
    settings: tuple[str, ...],
    allow_missing: int,
    tensorboard: bool,
    execution: dict[str, Any],
    gpu: str | None,
    device: str | None,
    root: Path,
) -> None:
    """Train METHOD on a benchmark's features; the epoch is chosen on val, never on test.

    \b
    meid-bench run --method meid
    meid-bench run --method meid --set beta=0.3 --set batch=64 --seed 1
    meid-bench run --method my_module:MyMethod --aggregator nonlinear
    torchrun --nproc-per-node 4 -m meid_bench run --method meid

    The same command goes on with an interrupted run.
    """
    from meid_bench.config import parse_assignments
    from meid_bench.curves import curve_log
    from meid_bench.device import describe
    from meid_bench.execution import Execution
    from meid_bench.ranks import joined_device
    from meid_bench.request import Request, plan
    from meid_bench.run import run as run_plan

    request = Request(
        method=method,
        dataset=dataset,
        aggregator=aggregator,
        network=network,
        seed=seed,
        features=features,
        preset=preset,
        settings=parse_assignments(settings),
        allow_missing=allow_missing,
    )
    with joined_device(gpu, device) as (chosen, first):
        say = click.echo if first else lambda line: None
        planned = plan(request, root)
        if planned.finished:
            say("This very run is there already; nothing to do.")
        else:
            say(f"{planned.benchmark.title}: {method} with {aggregator} on {describe(chosen)}")
        with curve_log(planned, tensorboard, first) as log:
            result = run_plan(planned, chosen, log, Execution(**execution), say)
    if not first:
        return
    for warning in result.warnings:
        click.echo(f"Warning: {warning}", err=True)
    test = result.test
    groups = {"head": test.head, "medium": test.medium, "tail": test.tail}
    shown = ", ".join(f"{name} {value:.3f}" for name, value in groups.items() if value is not None)
    click.echo(f"Test mAP {test.overall:.3f} ({shown}), epoch {result.epoch} chosen on val")
    if result.features is not None and result.features.untrained:
        click.echo("The encoder was untrained: these numbers say nothing of real features.")
    click.echo(f"Record: {planned.folder}")
    click.echo(f"Next: meid-bench leaderboard --dataset {dataset}")
