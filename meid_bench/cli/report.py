"""`meid-bench report`: the records as one HTML page."""

from pathlib import Path

import click

from meid_bench.cli.options import root_option


@click.command()
@click.option("--dataset", "datasets", multiple=True, metavar="NAME", help="Repeatable; all else.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="Where to write the page.",
)
@click.option("--quick", is_flag=True, help="Show quick runs, which are on no board.")
@root_option
def report(datasets: tuple[str, ...], output: Path, quick: bool, root: Path) -> None:
    """One HTML page of every run: board, bins, classes, curves, warnings, settings.

    The page holds everything it needs and asks nothing of any server. Pictures that
    `meid-bench inspect` left in the runs' folders are shown in it.
    """
    from meid_bench.number_text import size_text
    from meid_bench.results.report import write_report

    written = write_report(output, datasets or None, root, quick)
    for problem in written.problems:
        click.echo(f"Note: {problem}", err=True)
    size = size_text(written.path.stat().st_size)
    click.echo(f"{written.path}: {written.runs} runs, {size}")
