"""`meid-bench build`: official files, or one's own, become a benchmark."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from meid_bench.cli.root_option import root_option

if TYPE_CHECKING:
    from meid_bench.build import BuildResult


@click.command()
@click.argument("dataset")
@click.option(
    "--source",
    metavar="URL|DIR",
    help="A mirror's address, or a folder of the official files, zipped or unpacked.",
)
@click.option(
    "--videos",
    type=click.Choice(["needed", "all", "none"]),
    default="needed",
    show_default=True,
    help="Take the listed videos out of the archive, the whole archive, or none.",
)
@click.option(
    "--allow-inexact", is_flag=True, help="Take the nearest split where Table 1 cannot be met."
)
@root_option
def build(dataset: str, source: str | None, videos: str, allow_inexact: bool, root: Path) -> None:
    """Build DATASET: a packaged name, or a folder with a spec.json.

    Run again, it does only what is missing.

    \b
    meid-bench build charadeslt
    meid-bench build charadeslt --source DIR --videos none
    """
    from meid_bench.build import build as build_benchmark

    result = build_benchmark(
        dataset,
        root,
        source,
        videos,  # type: ignore[arg-type]  # click offers exactly these
        allow_inexact=allow_inexact,
    )
    _print(result)


def _print(result: "BuildResult") -> None:
    from meid_bench.cli.table1_text import print_table1
    from meid_bench.disk import readable

    benchmark, videos = result.benchmark, result.manifest.videos
    click.echo(f"{benchmark.title}: {result.folder}\n")
    print_table1(benchmark)
    click.echo(f"\nfingerprint {benchmark.fingerprint}")
    for sentence in result.missed:
        click.echo(f"not met: {sentence}")
    if videos is None:
        click.echo("videos: none; build again without --videos none to get them")
    else:
        click.echo(f"videos: {videos.found} of {len(benchmark.all_ids())} in {videos.folder}")
        if videos.missing:
            shown = ", ".join(videos.missing[:5]) + (", ..." if len(videos.missing) > 5 else "")
            click.echo(
                f"Warning: {len(videos.missing)} listed videos are not there: {shown}; "
                "extract will report each",
                err=True,
            )
    if result.transfer is not None:
        fetched, size = result.transfer.fetched, result.transfer.size
        click.echo(
            f"fetched {readable(fetched)} in {result.transfer.requests} requests, "
            f"{readable(max(size - fetched, 0))} less than the whole archive"
        )
    click.echo(f"next: meid-bench extract --dataset {benchmark.name}")
