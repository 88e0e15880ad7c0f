"""`meid-bench extract` and `verify`: features from videos, and whether they are whole."""

from pathlib import Path
from typing import Any

import click

from meid_bench.cli.account_text import allow_missing_option, print_account, refuse_missing
from meid_bench.cli.options import dataset_option, device_options, root_option
from meid_bench.errors import DataError


@click.command()
@dataset_option
@device_options
@click.option(
    "--encoder",
    default="resnet101",
    show_default=True,
    metavar="NAME",
    help="resnet50, tsm_resnet50, any classifier of torchvision's, timm:NAME, clips; see --list.",
)
@click.option(
    "--weights",
    metavar="NAME|FILE",
    help="The library's name, a file, or random:SEED (untrained); else its own default.",
)
@click.option(
    "--list",
    "pattern",
    is_flag=False,
    flag_value="",
    metavar="[PATTERN]",
    help="Only list the encoders, or those with PATTERN in their name.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    metavar="T",
    help="Rows a video; where left out the benchmark's frames, or 16 clips.",
)
@click.option(
    "--video-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the videos lie, files or folders of jpgs; where `build` put them where left out.",
)
@click.option(
    "--videos",
    metavar="TEXT",
    help="Of which videos, such as 480p: part of the feature id; `build`'s archive where left out.",
)
@click.option(
    "--decoder",
    metavar="NAME",
    help="Of video files: pyav where left out; decord, torchcodec, torchcodec-cuda if installed.",
)
@click.option(
    "--precision", metavar="NAME", help="float32 or bfloat16; the latter where the device has it."
)
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compile the encoder; a minute's start, on a CPU with a C++ compiler.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Pictures at once; 8 on a CPU, 128 on a GPU.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Decoder processes; one a core."
)
@click.option(
    "--video-timeout",
    "timeout",
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Time that a video may take.",
)
@allow_missing_option
@root_option
def extract(
    dataset: str,
    pattern: str | None,
    gpu: str | None,
    device: str | None,
    allow_missing: int,
    root: Path,
    **settings: Any,
) -> None:
    """Turn a benchmark's videos into features.

    Run it again to go on where it stopped; videos that failed are tried again. With --gpu 0,1
    there is a process for each; under torchrun, each process takes its part.
    """
    from meid_bench.benchmark.benchmark import load_benchmark
    from meid_bench.device import choose_devices
    from meid_bench.features.account import UnfinishedError
    from meid_bench.features.extract import ExtractSettings, extract

    if pattern is not None:
        _print_encoders(pattern)
        return
    chosen = ExtractSettings(**settings)
    benchmark, devices = load_benchmark(dataset, root), choose_devices(gpu, device)
    named = gpu is not None or device is not None
    try:
        account = extract(benchmark, root, chosen, devices, named=named, say=click.echo)
    except UnfinishedError as error:
        print_account(error.account)
        raise
    if account is not None:
        print_account(account)
        refuse_missing(account, allow_missing)


def _print_encoders(pattern: str) -> None:
    """The encoders of every family, and how to get the libraries that are not there."""
    from tabulate import tabulate

    from meid_bench.features.families import FAMILIES, list_encoders

    lines = list_encoders(pattern)
    there = {family.library: "yes" if family.installed else "no" for family in FAMILIES.values()}
    rows = [
        [name.name, name.family, name.width, name.size, name.clip, there[name.family]]
        for name in lines
    ]
    headers = ["encoder", "family", "width", "input", "sees", "installed"]
    click.echo(tabulate(rows, headers, missingval="-"))
    if any(line.width is None for line in lines):
        click.echo(f"{len(lines)} encoders; widths are told where PATTERN leaves a few")
    for family in FAMILIES.values():
        if not family.installed:
            click.echo(f"{family.library} is not installed: `{family.install_line}` in a clone")


@click.command()
@dataset_option
@click.option("--features", metavar="NAME", help="Which store, where there are several.")
@click.option("--repair", is_flag=True, help="Put what is wrong back on the list of `extract`.")
@root_option
def verify(dataset: str, features: str | None, repair: bool, root: Path) -> None:
    """Check every shard of a feature store."""
    from meid_bench.benchmark.benchmark import load_benchmark
    from meid_bench.features.account import take_account
    from meid_bench.features.manifest import load_manifest
    from meid_bench.features.store import find_store
    from meid_bench.features.verify import repair_store, verify_store

    benchmark = load_benchmark(dataset, root)
    folder = find_store(root, benchmark, features)
    faults = verify_store(benchmark, folder)
    click.echo(f"features  {folder}")
    for fault in faults:
        click.echo(f"wrong     {fault}")
    if faults and repair:
        repair_store(folder, faults)
        click.echo(f"repaired  {len(faults)}; what was wrong is taken out")
    elif faults:
        raise DataError(
            f"{folder} has {len(faults)} faults; `meid-bench verify --repair` puts what is wrong "
            "back on the list"
        )
    account = take_account(benchmark, folder)
    print_account(account)
    if account.untried:
        again = "run `meid-bench extract`"
        if load_manifest(folder).imported:
            again = "import them again from where they were made"
        raise DataError(f"{len(account.untried)} listed videos have no features; {again}")
