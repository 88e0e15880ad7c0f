"""Execution: settings of the machine: cache, precision, determinism, compilation, checkpoints."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch

from meid_bench.device import has_bfloat16
from meid_bench.methods.method import require
from meid_bench.training.cache import CacheMode

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Execution:
    """Settings of the machine; they change no number beyond rounding.

    Attributes:
        cache: Where features stay; "auto" chooses by what is free.
        precision: Of matrix products in training; "auto" is bfloat16 where the hardware has it.
            Losses, statistics, scores and AP are float32 always.
        deterministic: Bit-equal numbers on one machine; a CPU gives them always.
        compile: Compile the method's modules with torch.compile.
        checkpoint_minutes: Longest time between two resume checkpoints.
        neighbours: Processes on this machine that train, this one included.
    """

    cache: CacheMode = "auto"
    precision: Precision = "auto"
    deterministic: bool = False
    compile: bool = False
    checkpoint_minutes: float = 5.0
    neighbours: int = 1

    def __post_init__(self) -> None:
        """Refuse a negative time."""
        minutes = self.checkpoint_minutes
        require(minutes >= 0, "checkpoint_minutes", minutes, "at least 0")

    def on(self, device: torch.device) -> "Execution":
        """The same with "auto" precision replaced by what it is on a device."""
        return replace(self, precision=resolve_precision(self.precision, device))

    @property
    def bfloat16(self) -> bool:
        """Whether training's matrix products are in bfloat16, once the precision is known."""
        return self.precision == "bfloat16"


def resolve_precision(precision: Precision, device: torch.device) -> Literal["float32", "bfloat16"]:
    """What "auto" is on a device: bfloat16 where it has instructions for it.

    On a CPU with AVX512-BF16 a training step at width 2,048 takes about half of float32's time
    (tools/bench_train.py); where bfloat16 is emulated it takes longer.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if has_bfloat16(device) else "float32"


@contextmanager
def arithmetic(device: torch.device, bfloat16: bool, deterministic: bool) -> Iterator[None]:
    """Set torch's own switches, and set them back.

    With bfloat16 a GPU's float32 products (scores) are in TF32; without it they are exact.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()
    if deterministic and device.type == "cuda":
        # cuBLAS reads it when it is first used; without it torch refuses.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic or before[0])
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if bfloat16 else "highest")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.set_float32_matmul_precision(before[1])
