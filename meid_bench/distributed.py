"""Ranks: processes that train one network together, started by torchrun or srun.

A rank holds a part of every batch. What a loss asks of the whole batch goes through the sums
and gathers below; they carry gradients, and without other ranks they do nothing.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from meid_bench.device import choose_device, choose_devices, device_of_rank, make_current
from meid_bench.errors import SettingError

T = TypeVar("T")
log = logging.getLogger(__name__)

# Ranks that were started together meet within seconds; later than this a user wants to know why
# nothing happens.
SAY_AFTER = 5.0


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is.

    Attributes:
        rank: 0 to size - 1.
        size: Processes, over all machines.
        local: The same among this machine's processes: the number of its GPU.
        local_size: How many those are.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    local_size: int = 1


_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
# Slurm numbers srun's steps from 0; the batch script, salloc's shell and others have names, that
# is, numbers from here on, or none.
_NAMED_STEPS = 0xFFFFFFF0


def find_ranks(environment: Mapping[str, str] = os.environ) -> Ranks:
    """What torchrun or srun says; a process on its own where neither started it.

    An sbatch script's own variables tell how many tasks the job may start, not that this is one
    of them: a command in it that srun did not start is alone.

    Raises:
        SettingError: A number is none, or the rank is outside the size.
    """
    rank, size, local, local_size = (environment.get(name) for name in _TORCHRUN)
    source = "RANK and WORLD_SIZE"
    if rank is None or size is None:
        step = environment.get("SLURM_STEP_ID", environment.get("SLURM_STEPID", ""))
        if not step.isdecimal() or int(step) >= _NAMED_STEPS:
            return Ranks()
        rank = environment.get("SLURM_PROCID", "0")
        size = environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1"))
        local, local_size = environment.get("SLURM_LOCALID"), _tasks_here(environment)
        source = "SLURM_PROCID and SLURM_STEP_NUM_TASKS"
    try:
        found = Ranks(int(rank), int(size), int(local or 0), int(local_size or 1))
    except ValueError as error:
        raise SettingError(
            f"{source} are {rank} and {size}, {local or 0} of {local_size or 1} on this machine, "
            "and no numbers; start with torchrun or srun, or unset them"
        ) from error
    if not 0 <= found.rank < found.size:
        raise SettingError(
            f"{source} are {rank} and {size}; expected a rank of 0 to {found.size - 1}"
        )
    return found


def _tasks_here(environment: Mapping[str, str]) -> str | None:
    """How many tasks of srun's step are on this machine: "2(x3),1" is two on each of three, ..."""
    text = environment.get("SLURM_STEP_TASKS_PER_NODE", environment.get("SLURM_TASKS_PER_NODE"))
    if text is None:
        return environment.get("SLURM_NTASKS_PER_NODE")
    counts: list[str] = []
    for part in text.split(","):
        count, _, times = part.strip().removesuffix(")").partition("(x")
        counts += [count] * int(times if times.isdecimal() else 1)
    node = environment.get("SLURM_NODEID", "0")
    return counts[int(node)] if node.isdecimal() and int(node) < len(counts) else counts[0]


@contextmanager
def joined(ranks: Ranks, device: torch.device, timeout: timedelta | None = None) -> Iterator[None]:
    """Meet the other ranks, and part again: NCCL between GPUs, gloo otherwise.

    Args:
        ranks: Which one this is.
        device: Where it computes.
        timeout: How long one rank waits for another; torch's choice where it is left out.

    Raises:
        SettingError: Where to meet is not known.
    """
    if ranks.size == 1:
        yield
        return
    if "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ:
        raise SettingError(
            f"There are {ranks.size} ranks, but MASTER_ADDR and MASTER_PORT are not set; start "
            "with torchrun, or export the first machine's name and a free port"
        )
    make_current(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    waits = f"Rank {ranks.rank} of {ranks.size} waits for the others at {place}"
    try:
        with _said_after(SAY_AFTER, f"{waits}; Ctrl-C gives up"):
            dist.init_process_group(
                backend, timeout=timeout, rank=ranks.rank, world_size=ranks.size
            )
    except dist.DistError as error:
        raise SettingError(
            f"{waits}, and not all came ({_first_line(error)}); start {ranks.size} processes, "
            "with the same MASTER_ADDR and MASTER_PORT"
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _said_after(seconds: float, sentence: str) -> Iterator[None]:
    """Say something if the block takes that long."""
    timer = threading.Timer(seconds, log.warning, [sentence])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def joined_device(gpu: str | None, device: str | None) -> Iterator[tuple[torch.device, bool]]:
    """Meet the other ranks, if there are any; gives this one's device, and whether it is first.

    Args:
        gpu: As the user named it, or None.
        device: The same.

    Raises:
        SettingError: A device is not there, several are named for one process, or the ranks
            cannot meet.
    """
    ranks = find_ranks()
    if ranks.size == 1:
        yield choose_device(gpu, device), True
        return
    named = gpu is not None or device is not None
    chosen = device_of_rank(choose_devices(gpu, device), named, ranks.local)
    with joined(ranks, chosen):
        yield chosen, ranks.rank == 0


def rank() -> int:
    """This process's rank among those that have joined; 0 on its own."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes have joined; 1 on its own."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank_slice(total: int, number: int, of: int) -> slice:
    """Part `number` of 0..total-1 cut into `of` consecutive parts; sizes differ by one at most."""
    return slice(total * number // of, total * (number + 1) // of)


def slice_sizes(total: int) -> list[int]:
    """How many of `total` things each rank has, by `rank_slice`."""
    parts = (rank_slice(total, number, size()) for number in range(size()))
    return [part.stop - part.start for part in parts]


def own_slice(total: int) -> slice:
    """This rank's part of `total` things, by `rank_slice`."""
    return rank_slice(total, rank(), size())


def summed(values: Tensor) -> Tensor:
    """The sum over all ranks, on every rank, with gradient."""
    if size() == 1:
        return values
    total: Tensor = _Sum.apply(values)
    return total


def gathered(values: Tensor, counts: Sequence[int]) -> Tensor:
    """All ranks' rows, in the order of ranks, on every rank, with gradient.

    Args:
        values: (counts[rank], ...), this rank's rows.
        counts: How many rows each rank has.
    """
    if size() == 1:
        return values
    rows: Tensor = _Gather.apply(values, tuple(counts))
    return rows


def from_first(value: T | None) -> T:
    """Rank 0's value, on every rank; what the others give does not matter."""
    box = [value]
    if size() > 1:
        dist.broadcast_object_list(box)
    return cast(T, box[0])


class _Sum(torch.autograd.Function):
    """Every rank's result depends on every rank's values: the gradients are summed likewise."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class _Gather(torch.autograd.Function):
    """Rows are padded to one size, since gloo gathers equal sizes only."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.counts = counts
        padded = values.new_zeros((max(counts), *values.shape[1:]))
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        start = sum(ctx.counts[: rank()])
        return total[start : start + ctx.counts[rank()]], None
