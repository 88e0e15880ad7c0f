"""Options that several commands have, lists with commas, and what Ctrl-C leaves of runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
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


dataset_option = click.option(
    "--dataset", default="charadeslt", show_default=True, metavar="NAME", help="A built benchmark."
)


def device_options(command: Function) -> Function:
    """Add --gpu and --device; `meid_bench.device` says what they mean."""
    gpu = click.option("--gpu", metavar="N", help="CUDA device number, for example 0.")
    device = click.option("--device", metavar="NAME", help="cpu, mps, cuda:1; chosen otherwise.")
    return gpu(device(command))


def names_in(text: str | None) -> list[str]:
    """The names of a comma-separated list; none where nothing was given."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def numbers_in(text: str, option: str) -> list[int]:
    """The whole numbers of a comma-separated list.

    Raises:
        click.BadParameter: One is none.
    """
    try:
        return [int(number) for number in names_in(text)]
    except ValueError as error:
        message = f"{text!r} is no list of whole numbers"
        raise click.BadParameter(message, param_hint=option) from error


protocol_option = click.option(
    "--protocol",
    type=click.Choice(["paper", "equal"]),
    default="paper",
    show_default=True,
    help="paper: the method's own schedule; equal: the same epochs for all, the rate from val.",
)


_NAMES = ("cache", "precision", "deterministic", "compile", "checkpoint_minutes")


def execution_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --cache and the like; the command gets them as one dict, `execution`."""

    @wraps(command)
    def gathering(**values: Any) -> None:
        command(execution={name: values.pop(name) for name in _NAMES}, **values)

    for option in reversed(_OPTIONS):
        gathering = option(gathering)
    return gathering


_OPTIONS = (
    click.option(
        "--cache",
        type=click.Choice(["auto", "device", "host", "stream"]),
        default="auto",
        show_default=True,
        help="Where features stay: on the GPU, in main memory, or in their files.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        default="auto",
        show_default=True,
        help="Of matrix products in training; auto: bfloat16 where the hardware has it.",
    ),
    click.option("--deterministic", is_flag=True, help="Bit-equal numbers on a GPU too; slower."),
    click.option("--compile", is_flag=True, help="Compile the network first (torch.compile)."),
    click.option(
        "--checkpoint-minutes",
        type=click.FloatRange(min=0),
        default=5.0,
        show_default=True,
        metavar="M",
        help="Longest time between two resume checkpoints.",
    ),
)


def _runs_kept() -> str:
    return "finished runs are kept, and the one in progress to its last checkpoint"


@contextmanager
def stopping(kept: Callable[[], str] = _runs_kept) -> Iterator[None]:
    """Say what Ctrl-C leaves.

    Args:
        kept: Looks for it, and says it; several runs where it is left out.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise click.ClickException(
            f"Stopped; {kept()}; the same command goes on from there"
        ) from None
