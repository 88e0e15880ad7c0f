"""`meid-bench build`: official files, or one's own, become a benchmark."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from meid_bench.cli.root_option import root_option

if TYPE_CHECKING:
    from meid_bench.benchmark.build import BuildResult
    from meid_bench.benchmark.longtail import Bins

SHOWN = 5


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
    default="needed",
    show_default=True,
    help="Take the listed videos out of the archive, the whole archive, or none.",
)
@click.option(
    "--from",
    "labels",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="Your own labels: columns video, labels (a;b), and split if you have one.",
)
@click.option(
    "--video-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder of videos to use in place: your own, or a dataset's.",
)
@click.option("--name", help="Name of your benchmark.")
@click.option(
    "--frames",
    default=200,
    show_default=True,
    type=click.IntRange(min=1),
    help="Frames per video of your own.",
)
@click.option(
    "--fractions",
    default="0.7,0.1,0.2",
    show_default=True,
    help="Shares of train, val and test where your csv names no split.",
)
@click.option(
    "--bins",
    default="thirds",
    show_default=True,
    metavar="TAIL,MEDIUM",
    help="Largest training count of your tail and medium classes, or thirds of the classes.",
)
@root_option
@click.pass_context
def build(
    context: click.Context,
    dataset: str | None,
    source: str | None,
    videos: str,
    labels: Path | None,
    video_dir: Path | None,
    name: str | None,
    frames: int,
    fractions: str,
    bins: str,
    root: Path,
) -> None:
    """Build DATASET, a packaged name or a folder with a spec.json; or a benchmark of your own.

    Run again, it does only what is missing.

    \b
    meid-bench build charadeslt
    meid-bench build charadeslt --source DIR --videos none
    meid-bench build --from labels.csv --video-dir DIR --name kitchen
    """
    from meid_bench.benchmark import build as builder
    from meid_bench.benchmark.stratify import parse_fractions

    _refuse_mixture(context, own=labels is not None)
    if labels is None:
        assert dataset is not None
        result = builder.build(
            dataset,
            root,
            source,
            videos,  # type: ignore[arg-type]  # click offers exactly these
            video_folder=video_dir,
        )
    else:
        assert name is not None
        result = builder.build_own(
            labels,
            video_dir,
            name,
            root,
            frames=frames,
            bins=_bins(bins),
            fractions=parse_fractions(fractions),
        )
    _print(result, root)


OFFICIAL = ("dataset", "source", "videos")
OWN = ("labels", "name", "frames", "fractions", "bins")


def _refuse_mixture(context: click.Context, own: bool) -> None:
    """An official dataset and data of one's own have options of their own."""
    given = [
        parameter
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    if own:
        if context.params["name"] is None:
            raise click.UsageError("--from also needs --name")
        features_only = context.params["videos"] == "none"
        if (context.params["video_dir"] is None) != features_only:
            raise click.UsageError(
                "--from needs either --video-dir or, where you have features only, --videos none"
            )
        given = [option for option in given if not (features_only and option.name == "videos")]
    elif context.params["dataset"] is None:
        raise click.UsageError("name a DATASET, or your own data with --from")
    for parameter in given:
        if parameter.name in (OFFICIAL if own else OWN):
            shown = "DATASET" if parameter.name == "dataset" else parameter.opts[0]
            raise click.UsageError(
                f"{shown} is for official data, not for --from"
                if own
                else f"{shown} is for your own data and needs --from"
            )


def _bins(text: str) -> "Bins | None":
    from meid_bench.benchmark.longtail import Bins
    from meid_bench.errors import SettingError

    if text == "thirds":
        return None
    try:
        tail, medium = (int(part) for part in text.split(","))
        return Bins(tail, medium)
    except ValueError as error:
        raise SettingError(
            f"Bins {text!r} where 'thirds' or two rising counts were expected, such as 20,100"
        ) from error


def _print(result: "BuildResult", root: Path) -> None:
    from meid_bench.cli.table1_text import print_table1
    from meid_bench.disk import readable
    from meid_bench.features.npy_store import register_all

    benchmark, videos = result.benchmark, result.manifest.videos
    click.echo(f"{benchmark.title}: {result.folder}\n")
    print_table1(benchmark)
    click.echo(f"\nfingerprint {benchmark.fingerprint}")
    if videos is None:
        click.echo("videos: none")
    else:
        click.echo(f"videos: {videos.found} of {len(benchmark.all_ids())} in {videos.folder}")
        if videos.missing:
            more = ", ..." if len(videos.missing) > SHOWN else ""
            click.echo(
                f"Warning: {len(videos.missing)} listed videos are not there: "
                f"{', '.join(videos.missing[:SHOWN])}{more}; extract will report each",
                err=True,
            )
    if result.transfer is not None:
        fetched, size = result.transfer.fetched, result.transfer.size
        click.echo(
            f"fetched {readable(fetched)} in {result.transfer.requests} requests, "
            f"{readable(max(size - fetched, 0))} less than the whole archive"
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
