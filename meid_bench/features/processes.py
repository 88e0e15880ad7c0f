"""Processes: the shares of one extraction, a process each, on the devices of one machine."""

import multiprocessing
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from meid_bench.errors import MeidBenchError
from meid_bench.features.encoder import load_encoder
from meid_bench.features.pipeline import Share, extract_share
from meid_bench.mainless import mainless


def run_on_devices(
    shares: Sequence[Share], devices: Sequence[torch.device], encoder: Mapping[str, Any]
) -> None:
    """Do each share in a process of its own.

    Args:
        shares: One a device.
        devices: Where each encodes.
        encoder: Arguments of `load_encoder` besides the device.

    Raises:
        MeidBenchError: A process ended early; the others were left to finish theirs.
    """
    context = multiprocessing.get_context("spawn")
    processes = [
        # Not daemons: those may not have children, and each has its decoders.
        context.Process(target=_do_share, args=(share, str(device), dict(encoder)))
        for share, device in zip(shares, devices, strict=True)
    ]
    # Ctrl-C reaches the children too; they finish their shards, and this one waits for them.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with mainless():
            for process in processes:
                process.start()
        for process in processes:
            process.join()
    finally:
        signal.signal(signal.SIGINT, before)
    dead = [str(device) for device, p in zip(devices, processes, strict=True) if p.exitcode]
    if dead:
        raise MeidBenchError(
            f"The process on {', '.join(dead)} ended early; every finished shard stays, "
            "run the same command again to go on"
        )


def _do_share(share: Share, device: str, encoder: dict[str, Any]) -> None:
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        extract_share(share, load_encoder(device=device, **encoder), print)
    except MeidBenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
