"""Runs of an extraction in a process that kills itself, or is hindered, at a chosen moment."""

import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import torch

from meid_bench.benchmark.benchmark import load_benchmark
from meid_bench.errors import MeidBenchError
from meid_bench.features import shard
from meid_bench.features.decode_pool import DecodePool
from meid_bench.features.encoder import Encoder
from tests.extraction import NAME, VIDEOS_PER_SHARD, run_small

# Phase -> what happens in it; each is killed at its n-th happening.
PHASES = (
    "decoding",
    "encoding",
    "writing",
    "before the rename",
    "after the rename",
    "before the manifest",
    "after the manifest",
    "before the failures",
    "after the failures",
)


def server() -> dict[str, Any]:
    """What a process must know of this one's fork server to use it too."""
    names = ("_forkserver_address", "_forkserver_authkey")
    known = vars(forkserver._forkserver)  # type: ignore[attr-defined]
    return {name: known[name] for name in names if name in known}


def run(root: Path, hinder: str, number: int, says: str, served: dict[str, Any]) -> None:
    """Extract `root`'s benchmark and be hindered; exits with 1 after an error, which is kept.

    Args:
        root: The data root.
        hinder: One of PHASES, "disk" (files may not grow beyond `number` bytes), "interrupt"
            (Ctrl-C at the n-th video), "worker" (a decoder is killed at the n-th), or "".
        number: The n.
        says: File that takes an error's sentence.
        served: Of `server`: a server of its own would import torch for seconds, every time.
    """
    shard.VIDEOS_PER_SHARD = VIDEOS_PER_SHARD
    torch.set_num_threads(1)
    shared = forkserver._forkserver  # type: ignore[attr-defined]
    vars(shared).update(served, ensure_running=lambda: None)
    forkserver.ensure_running = shared.ensure_running
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if hinder:
        _arm(hinder, number)
    try:
        run_small(load_benchmark(NAME, root), root)
    except MeidBenchError as error:
        Path(says).write_text(str(error), encoding="utf-8")
        sys.exit(1)


def _arm(hinder: str, number: int) -> None:
    if hinder in ("decoding", "interrupt", "worker"):
        act: Callable[..., None] = {
            "decoding": _kill,
            "interrupt": lambda *_: os.kill(os.getpid(), signal.SIGINT),
            "worker": lambda pool, _: os.kill(pool.processes[number % 2], signal.SIGKILL),
        }[hinder]
        DecodePool.release = _at(number, act, DecodePool.release)  # type: ignore[method-assign]
    elif hinder == "encoding":
        Encoder.launch = _at(number, _kill, Encoder.launch)  # type: ignore[method-assign]
    elif hinder == "disk":
        fill = partial(_fill_disk, number)
        Encoder.launch = _at(1, fill, Encoder.launch)  # type: ignore[method-assign]
    elif hinder == "writing":
        write = Path.write_bytes

        def torn(path: Path, data: bytes) -> None:
            write(path, data[: len(data) // 2])
            _kill()

        Path.write_bytes = _at(number, torn, write)  # type: ignore[method-assign]
    else:
        _arm_rename(hinder, number)


def _arm_rename(hinder: str, number: int) -> None:
    when, _, what = hinder.partition(" the ")
    prefix = {"rename": "part-", "manifest": "manifest", "failures": "failures"}[what]
    replace, seen = Path.replace, 0

    def deadly(path: Path, target: Any) -> Path:
        nonlocal seen
        seen += Path(target).name.startswith(prefix)
        hit = seen == number and Path(target).name.startswith(prefix)
        if hit and when == "before":
            _kill()
        result = replace(path, target)
        if hit:
            _kill()
        return result

    Path.replace = deadly  # type: ignore[method-assign,assignment]


def _at(number: int, act: Callable[..., Any], then: Callable[..., Any]) -> Callable[..., Any]:
    seen = 0

    def counted(*arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == number:
            act(*arguments)
        return then(*arguments)

    return counted


def _fill_disk(size: int, *_: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _kill(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
