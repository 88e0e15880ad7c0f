"""Cache: where a run's features stay, and what is done where memory runs out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import psutil
import torch

from meid_bench import distributed
from meid_bench.errors import SettingError
from meid_bench.methods.method import Batch, Method
from meid_bench.methods.settings import RunnerConfig
from meid_bench.methods.trainable import training_mode
from meid_bench.number_text import size_text
from meid_bench.training.data import Examples
from meid_bench.training.epoch import Stepper

T = TypeVar("T")

CacheMode = Literal["auto", "device", "host", "stream"]

# Of free memory; the rest is for the network, its gradients and activations, and other processes.
DEVICE_SHARE = 0.6
HOST_SHARE = 0.6


@dataclass(frozen=True)
class Cache:
    """Where features stay, and the reason in words.

    Attributes:
        mode: "device", one tensor beside the network; "host", one in main memory; "stream", read
            from the shards batch by batch.
    """

    mode: Literal["device", "host", "stream"]
    reason: str


def choose_cache(
    mode: CacheMode, needed: int, device: torch.device, processes: int = 1, full: str | None = None
) -> Cache:
    """Where `needed` bytes of features should stay.

    On a CPU "device" and "host" are the same memory.

    Args:
        mode: What the user asks for; "auto" takes the first of device, host and stream that fits.
        needed: Bytes of all features of the run, as float16.
        device: Where the network is.
        processes: How many processes of this run share the machine's memory.
        full: A mode that was tried and did not fit: it and those before it are out.
    """
    if mode != "auto":
        named = "host" if mode == "device" and device.type == "cpu" else mode
        return Cache(named, f"{size_text(needed)} of features, --cache {mode}")
    if device.type == "cuda" and full is None:
        free = torch.cuda.mem_get_info(device)[0]
        if needed <= DEVICE_SHARE * free:
            reason = f"{size_text(needed)} of features fit into {device}'s free {size_text(free)}"
            return Cache("device", reason)
    free = free_host_memory() // processes
    if needed <= HOST_SHARE * free and full != "host":
        reason = f"{size_text(needed)} of features fit into {size_text(free)} of free main memory"
        return Cache("host", reason)
    short = f"{size_text(needed)} of features are too much for {size_text(free)} of free memory"
    return Cache("stream", short)


def free_host_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its container."""
    free: int = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        used = next(int(line.split()[1]) for line in lines if line.startswith("anon "))
        return min(free, max(0, limit - used))
    except (OSError, ValueError, StopIteration):
        return free


def with_room(
    work: Callable[[Cache], T],
    mode: CacheMode,
    needed: int,
    device: torch.device,
    processes: int = 1,
) -> T:
    """Do `work`, which loads features where the cache says, and trains.

    Where memory runs out, "auto" takes the next mode; training resumes there. Other arguments
    are those of `choose_cache`.

    Raises:
        SettingError: There is no room where the user asked for it.
    """
    full = None
    while True:
        cache = choose_cache(mode, needed, device, processes, full)
        try:
            return work(cache)
        except torch.OutOfMemoryError as error:
            # Ranks cannot change the mode alone: the others would wait.
            if mode != "auto" or cache.mode != "device" or distributed.size() > 1:
                raise SettingError(
                    f"{device} has no room for the features beside the network ({cache.reason}); "
                    "use --cache host"
                ) from error
        except MemoryError as error:
            if mode != "auto" or cache.mode == "stream":
                raise SettingError(
                    f"There is no room for the features in main memory ({cache.reason}); "
                    "use --cache stream"
                ) from error
        full = cache.mode
        if device.type == "cuda":
            torch.cuda.empty_cache()


def no_room(batch: int, fitting: int | None, device: torch.device) -> SettingError:
    """The error for a step that does not fit; `fitting` is None where no batch was tried."""
    if fitting is None:
        advice = "use a smaller --set batch=N, or more ranks"
    elif fitting:
        advice = f"a batch of {fitting} fits: use --set batch={fitting}"
    else:
        advice = "not even one video fits: use a smaller aggregator or another device"
    return SettingError(f"{device} has no room for a step with batch {batch}; {advice}")


def fitting_batch(
    build: Callable[[], Method], examples: Examples, config: RunnerConfig, bfloat16: bool
) -> int:
    """The largest half, quarter, ... of a batch of which every stage's step fits; 0 for none.

    Args:
        build: Gives the method, on the device of the examples.
        examples: Training videos, of which only the shapes count.
        config: The batch that did not fit, and the frames that a step sees.
        bfloat16: Whether matrix products are in bfloat16.
    """
    device, batch, classes = examples.device, config.batch // 2, examples.labels.shape[1]
    frames, width = config.training_frames or examples.features.shape[1], examples.features.shape[2]
    while batch:
        try:
            method = build()
            features = torch.zeros(batch, frames, width, device=device)
            labels = torch.zeros(batch, classes, device=device)
            made_up = Batch(features, labels, None, torch.Generator(device))
            for stage in method.stages():
                method.begin_stage(stage)
                stepper = Stepper(method, stage, device, 1.0, bfloat16)
                training_mode(method)
                for _ in range(2):  # Adam's state comes with the first step
                    stepper.step(made_up, 0)
            return batch
        except torch.OutOfMemoryError:
            batch //= 2
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return 0
