"""`meid-bench build`: official files, or one's own, become a benchmark."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meid_bench.cli.options import root_option

if TYPE_CHECKING:
    from meid_bench.benchmark.build import BuildResult
    from meid_bench.benchmark.longtail import Bins


@click.command()
@click.argument("dataset", required=False)
@click.option(
    "--source",
    metavar="URL|DIR",
    help="A mirror's address, or a folder of the official files, zipped or unpacked.",
)
@click.option(
    "--videos",
    type=click.Choice(["needed", "all", "none"]),
    help="Take the listed videos out of the archive (if left out), the whole archive, or none.",
)
@click.option(
    "--video-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder of videos to use in place: your own, or a dataset's.",
)
@click.option(
    "--from",
    "labels",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="Your own labels: columns video, labels (a;b), and split and group if you have them.",
)
@click.option(
    "--separator",
    metavar="TEXT",
    help="What stands between two labels in your csv; guessed, and printed, if left out.",
)
@click.option("--name", help="Name of your benchmark.")
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    help="Frames per video of your own; 200 if left out.",
)
@click.option(
    "--fractions",
    metavar="TRAIN,VAL,TEST",
    help="Of your videos, where your csv names no split; 0.7,0.1,0.2 if left out.",
)
@click.option(
    "--bins",
    metavar="TAIL,MEDIUM",
    help="Largest training count of your tail and medium classes; thirds of them if left out.",
)
@root_option
def build(
    dataset: str | None,
    source: str | None,
    videos: str | None,
    video_dir: Path | None,
    labels: Path | None,
    separator: str | None,
    name: str | None,
    frames: int | None,
    fractions: str | None,
    bins: str | None,
    root: Path,
) -> None:
    """Build DATASET, a packaged name or a folder with a spec.json; or a benchmark of your own.

    Run again, it does only what is missing.

    \b
    meid-bench build charadeslt
    meid-bench build charadeslt --source DIR --videos none
    meid-bench build --from labels.csv --video-dir DIR --name kitchen
    """
    from meid_bench.benchmark.build import OWN_FRAMES, build_own
    from meid_bench.benchmark.build import build as build_official
    from meid_bench.benchmark.own_data import FRACTIONS
    from meid_bench.benchmark.stratify import parse_fractions

    if labels is None:
        own = {"--name": name, "--frames": frames, "--fractions": fractions, "--bins": bins}
        _refuse({**own, "--separator": separator}, "is for your own data and needs --from")
        if dataset is None:
            raise click.UsageError("name a DATASET, or your own data with --from")
        mode: Any = videos or "needed"
        result = build_official(dataset, root, source, mode, video_folder=video_dir)
    else:
        videos_asked = None if videos == "none" else videos
        official = {"DATASET": dataset, "--source": source, "--videos": videos_asked}
        _refuse(official, "is for official data, not for --from")
        if (video_dir is None) != (videos == "none"):
            raise click.UsageError(
                "--from needs either --video-dir or, where you have features only, --videos none"
            )
        if name is None:
            raise click.UsageError("--from also needs --name")
        result = build_own(
            labels,
            video_dir,
            name,
            root,
            frames=frames or OWN_FRAMES,
            bins=None if bins is None else _bins(bins),
            fractions=FRACTIONS if fractions is None else parse_fractions(fractions),
            separator=separator,
        )
    _print(result, root)


def _refuse(options: Mapping[str, object], why: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise click.UsageError(f"{option} {why}")


def _bins(text: str) -> "Bins":
    from meid_bench.benchmark.longtail import Bins
    from meid_bench.errors import SettingError

    try:
        tail, medium = (int(part) for part in text.split(","))
        return Bins(tail, medium)
    except ValueError as error:
        raise SettingError(
            f"Bins {text!r} where two rising counts were expected, such as 20,100; leave --bins "
            "out for thirds of the classes"
        ) from error


def _print(result: "BuildResult", root: Path) -> None:
    from meid_bench.cli.stats import print_table1
    from meid_bench.errors import listing
    from meid_bench.features.npy_store import register_all
    from meid_bench.number_text import size_text

    benchmark, videos = result.benchmark, result.manifest.videos
    click.echo(f"{benchmark.title}: {result.folder}\n")
    print_table1(benchmark)
    click.echo("".join(f"\n{note}" for note in result.notes))
    for warning in result.warnings:
        click.echo(f"Warning: {warning}", err=True)
    click.echo(f"fingerprint {benchmark.fingerprint}")
    if videos is None:
        click.echo("videos: none")
    else:
        click.echo(f"videos: {videos.found} of {len(benchmark.all_ids())} in {videos.folder}")
        if videos.missing:
            click.echo(
                f"Warning: {len(videos.missing)} listed videos are not there: "
                f"{listing(videos.missing)}; extract will report each",
                err=True,
            )
    if result.transfer is not None:
        fetched, size = result.transfer.fetched, result.transfer.size
        click.echo(
            f"fetched {size_text(fetched)} in {result.transfer.requests} requests, "
            f"{size_text(max(size - fetched, 0))} less than the whole archive"
        )
    stores = register_all(benchmark, result.features, root) if result.features else []
    for features in stores:
        click.echo(f"features: {features.stored} in {features.npy_folder}: {features.store.name}")
        if features.failed:
            first = features.failed[0]
            click.echo(
                f"Warning: {len(features.failed)} videos have no usable features there, such as "
                f"{first.id}: {first.error}; all are in {features.store / 'failures.jsonl'}",
                err=True,
            )
    if stores:
        command = "run --method plain"
    elif videos is None and "labels" in result.manifest.sources:
        command = "import-features FOLDER"
    else:
        command = "extract"
    click.echo(f"next: meid-bench {command} --dataset {benchmark.name}")
