"""`meid-bench demo`: the four commands on made-up videos, with no download and no GPU."""

import shlex
from pathlib import Path

import click


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Where everything goes.",
)
@click.option("--seed", default=0, show_default=True, help="Of the made-up videos.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute.")
def demo(folder: Path, seed: int, device: str) -> None:
    """Render a miniature Charades, then build, extract, run and rank on it.

    Takes some three minutes on two cores. Each step is a command of its own, printed before it
    is run; run again, the demo does only what is missing.
    """
    from meid_bench.benchmark.miniature import make_release
    from meid_bench.cli.main import cli
    from meid_bench.demo import RELEASE, WEIGHTS, commands
    from meid_bench.device import choose_device

    choose_device(None, device)  # a wrong name is refused before anything is rendered

    click.secho(f"# A made-up release in Charades' official formats: {folder / RELEASE}", bold=True)
    make_release(folder / RELEASE, seed)
    for arguments in commands(folder, device):
        click.secho(f"\n$ meid-bench {shlex.join(arguments)}", bold=True)
        code = cli.main(arguments, standalone_mode=False)
        if code:
            raise click.exceptions.Exit(code)
    click.echo(
        f"\nThe videos are made up and the encoder is untrained ({WEIGHTS}): the board shows that\n"
        "everything works, and says nothing about the methods.\n"
        f"As a page: meid-bench report --root {folder}\n"
        f"Look into {folder}: release (videos and annotations), benchmarks, features, runs."
    )
