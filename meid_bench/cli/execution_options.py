"""The options of `meid_bench.training.execution`, the same for every command that trains."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

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
