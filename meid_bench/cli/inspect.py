"""`meid-bench inspect` and `meid-bench predict`: what a trained run says of a video, and why."""

import json
from pathlib import Path

import click

from meid_bench.cli.options import device_options, root_option
from meid_bench.number_text import score_text

run_option = click.option(
    "--run", "run", required=True, metavar="RUN", help="A run's folder, or its name's beginning."
)
weights_option = click.option(
    "--weights",
    multiple=True,
    metavar="[NAME=]FILE",
    help="The encoder's weights, where they were a file; NAME, of several stores, says whose.",
)


@click.command()
@click.argument("video")
@run_option
@click.option(
    "--video-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the videos lie; where `build` put them otherwise.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="PNG to write; inspect-VIDEO.png in the run's folder otherwise, where `report` finds it.",
)
@device_options
@root_option
def inspect(
    video: str,
    run: str,
    video_dir: Path | None,
    output: Path | None,
    gpu: str | None,
    device: str | None,
    root: Path,
) -> None:
    """One picture of what a run sees in VIDEO, an id of its benchmark.

    Frames along time, the frame weights over them, the annotated intervals, and the top
    predictions of each expert. Without the video's file, the same without frames.
    """
    from meid_bench.device import choose_device
    from meid_bench.inference.inspection import inspect_video
    from meid_bench.inference.inspection_picture import save_picture
    from meid_bench.inference.trained_run import load_run

    trained = load_run(run, choose_device(gpu, device), root)
    inspection = inspect_video(trained, video, root, video_dir)
    path = output or trained.folder / f"inspect-{video.replace('/', '-')}.png"
    save_picture(inspection, path)
    if inspection.without_frames:
        click.echo(f"Note: no frames, {inspection.without_frames}", err=True)
    click.echo(str(path))


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@run_option
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Classes.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
@weights_option
@device_options
@root_option
def predict(
    files: tuple[Path, ...],
    run: str,
    top: int,
    style: str,
    weights: tuple[str, ...],
    gpu: str | None,
    device: str | None,
    root: Path,
) -> None:
    """The top classes of any video FILES, or folders of jpgs, by a trained run.

    The files go through the same decoding and the same encoder as the features that the run was
    trained on.
    """
    from meid_bench.device import choose_device
    from meid_bench.errors import DataError
    from meid_bench.inference.trained_run import load_run

    trained = load_run(run, choose_device(gpu, device), root, weights)
    for sentence in trained.differences:
        click.echo(f"Note: {sentence}", err=True)
    for each in trained.encoders:
        if each.encoder.untrained:
            click.echo(f"Note: {each.encoder.name} is untrained (random weights).", err=True)
    rows: list[tuple[str, str, float]] = []
    failed = []
    for file in files:
        try:
            rows += [(str(file), p.label, p.score) for p in trained.predict(file)[:top]]
        except DataError as error:
            failed.append(str(error))
    if rows:
        click.echo(_text(rows, style))
    if failed:
        raise click.ClickException("; ".join(failed))


def _text(rows: list[tuple[str, str, float]], style: str) -> str:
    columns = ["video", "class", "score"]
    if style == "json":
        lines = [dict(zip(columns, row, strict=True)) for row in rows]
        return json.dumps(lines, ensure_ascii=False, indent=1)
    import pandas as pd
    from tabulate import tabulate

    if style == "csv":
        return pd.DataFrame(rows, columns=columns).to_csv(index=False).rstrip("\n")
    cells = [(video, label, score_text(score)) for video, label, score in rows]
    return tabulate(cells, columns, disable_numparse=True)
