"""A store's account as text, and --allow-missing, for the commands that fill a store."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meid_bench.errors import DataError

if TYPE_CHECKING:
    from meid_bench.features.account import Account

# Names printed of each kind; all of them are in failures.jsonl.
SHOWN = 10

Function = TypeVar("Function", bound=Callable[..., Any])


def allow_missing_option(command: Function) -> Function:
    """Add --allow-missing N, passed as an int."""
    option = click.option(
        "--allow-missing",
        default=0,
        metavar="N",
        type=click.IntRange(min=0),
        help="Exit with 0 if at most N videos have no features.",
    )
    return option(command)


def print_account(account: "Account") -> None:
    """Print what a store holds of its benchmark, and why the rest is missing."""
    click.echo(f"stored    {account.stored} of {account.listed} videos")
    if account.damaged:
        frames = sum(account.damaged.values())
        click.echo(f"damaged   {len(account.damaged)} of them, {frames} frames in all")
        _print_some([f"{name}: {count} frames" for name, count in account.damaged.items()])
    if account.failed:
        click.echo(f"failed    {len(account.failed)} videos")
        _print_some([f"{name}: {failure.error}" for name, failure in account.failed.items()])
    if account.untried:
        click.echo(f"not tried {len(account.untried)} videos")


def _print_some(lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        click.echo(f"          {line}")
    if len(lines) > SHOWN:
        click.echo(f"          and {len(lines) - SHOWN} more")


def refuse_missing(account: "Account", allowed: int) -> None:
    """Exit with 1 where more videos are missing than were allowed.

    Raises:
        DataError: So it is; the sentence says where the reasons are.
    """
    missing = account.listed - account.stored
    if missing > allowed:
        raise DataError(
            f"{missing} of {account.listed} videos have no features, --allow-missing allows "
            f"{allowed}; their reasons are in {account.folder / 'failures.jsonl'}"
        )
