"""`meid-bench leaderboard` and `meid-bench evaluate`: records to a table, scores to a record."""

from pathlib import Path
from shutil import get_terminal_size

import click

from meid_bench.cli.options import dataset_option, names_in, root_option


@click.command()
@dataset_option
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "markdown", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
@click.option(
    "--compare",
    "names",
    metavar="A,B[,...]",
    help="Differences of rows with intervals, instead of the board; a/nextvlad tells rows apart.",
)
@click.option("--rescore", is_flag=True, help="Recompute every record from its saved scores.")
@root_option
def leaderboard(dataset: str, style: str, names: str | None, rescore: bool, root: Path) -> None:
    """Every recorded run of a benchmark, ranked; published numbers below, unranked.

    \b
    meid-bench leaderboard
    meid-bench leaderboard --compare meid,cbs
    meid-bench leaderboard --format csv > board.csv
    """
    from meid_bench.results.board import load_board
    from meid_bench.results.board_text import format_board, format_comparison
    from meid_bench.results.comparison import compare, mark_ties
    from meid_bench.results.fitted_table import WIDTH

    board = load_board(dataset, root, rescore=rescore)
    for sentence in board.left_out:
        click.echo(f"Note: {sentence}", err=True)
    if names is not None:
        click.echo(format_comparison(compare(board, names_in(names))))
    else:
        board, notes = mark_ties(board)
        for sentence in notes:
            click.echo(f"Note: {sentence}", err=True)
        width = get_terminal_size((WIDTH, 24)).columns
        click.echo(format_board(board, style, width))
    if board.differing:
        raise click.ClickException(
            f"{len(board.differing)} records do not follow from their scores: "
            + "; ".join(board.differing)
        )


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@dataset_option
@click.option("--name", required=True, help="What the board should call it.")
@click.option("--logits", is_flag=True, help="The file holds logits, not probabilities.")
@root_option
def evaluate(file: Path, dataset: str, name: str, logits: bool, root: Path) -> None:
    """Score FILE (.npz, .csv, or an official Charades submission .txt) and put it on the board.

    \b
    .npz   ids (N,) and scores (N, classes)
    .csv   a header: id, then one column per class (its name, or c000, c001, ...)
    .txt   the official Charades submission: an id and 157 numbers a line, no header

    Every test id must be there once, with a probability in [0, 1] per class.
    """
    from meid_bench.results.board_text import metrics_line
    from meid_bench.results.submission import evaluate as evaluate_file

    result = evaluate_file(file, dataset, name, logits, root)
    for warning in result.warnings:
        click.echo(f"Warning: {warning}", err=True)
    click.echo(f"{result.title}, {result.method}: test mAP {metrics_line(result.test)}")
    click.echo(f"Next: meid-bench leaderboard --dataset {dataset}")
