"""Cache: where a run's features stay while it trains, chosen by what is free."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch

from meid_bench.disk import readable

CacheMode = Literal["auto", "device", "host", "stream"]
CACHE_MODES: tuple[CacheMode, ...] = ("auto", "device", "host", "stream")

# The rest is for the network, its gradients and activations, and for other processes.
DEVICE_SHARE = 0.6
HOST_SHARE = 0.6


@dataclass(frozen=True)
class Cache:
    """Where features stay, and why.

    Attributes:
        mode: "device", one tensor beside the network; "host", one in main memory; "stream", read
            from the shards batch by batch.
        reason: A sentence for the user.
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
        named: Literal["device", "host", "stream"] = mode
        if mode == "device" and device.type == "cpu":
            named = "host"
        return Cache(named, f"{readable(needed)} of features, --cache {mode}")
    if device.type == "cuda" and full is None:
        free = torch.cuda.mem_get_info(device)[0]
        if needed <= DEVICE_SHARE * free:
            reason = f"{readable(needed)} of features fit into {device}'s free {readable(free)}"
            return Cache("device", reason)
    free = free_host_memory() // processes
    if needed <= HOST_SHARE * free and full != "host":
        reason = f"{readable(needed)} of features fit into {readable(free)} of free main memory"
        return Cache("host", reason)
    short = f"{readable(needed)} of features are too much for {readable(free)} of free memory"
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
