"""Compiler: what torch.compile needs of the machine."""

import os
import shutil
import sys

import torch

from meid_bench.errors import SettingError


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
