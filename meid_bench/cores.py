"""Processor cores: how many this process may use."""

import os
from pathlib import Path


def cores() -> int:
    """Processor cores that this process may use: of the machine, its affinity, its container."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):
        return count
