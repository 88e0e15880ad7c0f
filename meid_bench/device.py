"""Device: what `--gpu N`, `--device NAME` or neither of them means, and what it can do."""

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from meid_bench.cores import cores
from meid_bench.errors import SettingError


def choose_devices(gpu: str | None = None, device: str | None = None) -> list[torch.device]:
    """The devices to compute on.

    Args:
        gpu: Numbers of CUDA devices, "0" or "0,1"; they count within CUDA_VISIBLE_DEVICES.
        device: A name of torch's, "cpu", "cuda:1" or "mps".

    Returns:
        The named ones; where none is named, the first GPU there is, or else the CPU.

    Raises:
        SettingError: A name means nothing, both are given, or this machine lacks it.
    """
    if gpu is not None and device is not None:
        raise SettingError(f"--gpu {gpu} and --device {device} exclude each other; give one")
    if gpu is not None:
        numbers = [part.strip() for part in gpu.split(",")]
        if not all(number.isdecimal() for number in numbers) or len(set(numbers)) < len(numbers):
            raise SettingError(f"--gpu {gpu!r} is no list of GPU numbers; expected 0 or 0,1")
        return [_present(f"cuda:{number}") for number in numbers]
    if device is not None:
        return [_present(device)]
    if torch.cuda.is_available():
        return [torch.device("cuda", 0)]
    return [torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")]


def choose_device(gpu: str | None = None, device: str | None = None) -> torch.device:
    """The one device to compute on; see `choose_devices`.

    Raises:
        SettingError: More than one GPU is named.
    """
    devices = choose_devices(gpu, device)
    if len(devices) > 1:
        raise SettingError(
            f"--gpu {gpu} names {len(devices)} GPUs, expected one; start one process per GPU with "
            f"`torchrun --nproc-per-node {len(devices)} -m meid_bench ...`"
        )
    return devices[0]


def device_of_rank(devices: Sequence[torch.device], named: bool, local: int) -> torch.device:
    """The device of one process among those that torchrun or srun started on a machine.

    Args:
        devices: As `choose_devices` gave them.
        named: The user named them; otherwise each process takes a GPU of its own.
        local: The process's number on its machine.
    """
    if devices[0].type == "cuda" and not named:
        return torch.device("cuda", local % torch.cuda.device_count())
    return devices[local % len(devices)]


def make_current(device: torch.device) -> None:
    """Let this thread's pinned memory and events belong to a GPU; torch's own choice is the first.

    Else every process of several GPUs would hold a context, hundreds of megabytes, on that one.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes with bfloat16 rather than imitating it, which takes longer."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(
        getattr(torch.cpu, check, lambda: False)() for check in checks
    )


def describe(device: torch.device) -> str:
    """A device in words, for example "cuda:0 (NVIDIA H200)" or "cpu (AMD EPYC, 2 cores)"."""
    if device.type == "cuda":
        return f"{device} ({processor(device)})"
    if device.type == "cpu":
        return f"cpu ({processor(device)}, {cores()} {'core' if cores() == 1 else 'cores'})"
    return str(device)


def processor(device: torch.device) -> str:
    """The kind of a device, whichever of several it is, for example "NVIDIA H200"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu() if device.type == "cpu" else device.type


def _present(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingError(
            f"There is no device {name!r}; expected cpu, mps, cuda or cuda:N"
        ) from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise SettingError(
                f"Device {name} is not there: this machine offers {count} CUDA devices; "
                "choose another with --gpu N, or use --device cpu"
            )
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingError(f"Device {name} is not there; use --device cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise SettingError(f"There is no device {name!r}; expected cpu, mps, cuda or cuda:N")
    return torch.device(device.type)


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def require_compiler(device: torch.device) -> None:
    """Refuse to compile for a CPU where there is no C++ compiler, before hours of work begin.

    Raises:
        SettingError: There is none under the name that torch.compile looks for: $CXX, or g++
            (clang++ on macOS).
    """
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(name) is None:
        raise SettingError(
            f"--compile needs a C++ compiler on a CPU, and there is no {name}; install one, name "
            "it in $CXX, or leave --compile out"
        )
