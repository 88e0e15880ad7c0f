"""The option --root, the same for every command: the data root."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from meid_bench.files import HOME_VARIABLE, home

Function = TypeVar("Function", bound=Callable[..., Any])


def root_option(command: Function) -> Function:
    """Add --root DIR, passed as a Path."""
    option = click.option(
        "--root",
        type=click.Path(file_okay=False, path_type=Path),
        default=home,
        metavar="DIR",
        help=f"Data root; ${HOME_VARIABLE}, or ./data, where it is left out.",
    )
    return option(command)
