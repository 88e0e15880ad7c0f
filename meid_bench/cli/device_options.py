"""The options --gpu and --device, the same for every command that computes."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def device_options(command: Function) -> Function:
    """Add --gpu and --device; `meid_bench.device` says what they mean."""
    gpu = click.option("--gpu", metavar="N", help="CUDA device number, for example 0.")
    device = click.option("--device", metavar="NAME", help="cpu, mps, cuda:1; chosen otherwise.")
    return gpu(device(command))
