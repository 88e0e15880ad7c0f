"""Checkpoint: all that an interrupted run needs to go on, in one file without pickles."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from meid_bench.codec import decode
from meid_bench.errors import DataError
from meid_bench.files import atomic
from meid_bench.results.record import CurvePoint, StageResult

FILE = "checkpoint.safetensors"
_PROGRESS = "progress"


@dataclass(frozen=True)
class Progress:
    """How far a run has come, without its tensors.

    Attributes:
        stage: Number of the stage to go on with; that of no stage where all are done.
        epoch: The epoch of it to go on with.
        best_epoch, best_map: The stage's best on val so far; -1 and 0 before its first epoch.
        stages: The finished stages.
        diagnostics: The method's last measurements of itself.
        warnings: What went wrong so far.
        curve: Every epoch so far.
        made_with: On what they were computed.
    """

    stage: int
    epoch: int
    best_epoch: int
    best_map: float
    stages: tuple[StageResult, ...]
    diagnostics: Mapping[str, float | None]
    warnings: tuple[str, ...]
    curve: tuple[CurvePoint, ...]
    made_with: str


class Checkpoint:
    """One run's resume file: written whole or not at all, each over the one before.

    Args:
        path: The file.
        minutes: Longest time between two writes.
        made_with: Device, precision and versions, in words.
    """

    def __init__(self, path: Path, minutes: float, made_with: str) -> None:
        self.path = path
        self.made_with = made_with
        self._seconds = 60 * minutes
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, progress: Progress, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Write progress and tensors, "<group>.<name>" each."""
        tensors = {
            f"{group}.{name}": value.detach().cpu().contiguous()
            for group, values in groups.items()
            for name, value in values.items()
        }
        with atomic(self.path) as temporary:
            save_file(tensors, temporary, {_PROGRESS: json.dumps(asdict(progress))})
        self._last = time.monotonic()

    def progress(self) -> Progress | None:
        """How far the run has come; None where there is nothing to go on with.

        Raises:
            DataError: The file is damaged, or of another version.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                return decode(Progress, json.loads(file.metadata()[_PROGRESS]))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise self.damaged(error) from error

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Group -> name -> tensor, in host memory.

        Raises:
            DataError: The file is damaged.
        """
        groups: dict[str, dict[str, Tensor]] = {}
        try:
            for key, value in load_file(self.path).items():
                group, _, name = key.partition(".")
                groups.setdefault(group, {})[name] = value
        except (SafetensorError, OSError) as error:
            raise self.damaged(error) from error
        return groups

    def remove(self) -> None:
        """Take the file away: the run is done."""
        self.path.unlink(missing_ok=True)

    def damaged(self, error: Exception) -> DataError:
        """The sentence for a file that cannot be gone on with."""
        reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
        return DataError(
            f"{self.path} cannot be continued ({reason}); remove it to start the run again"
        )


def checkpoint_of(folder: Path, minutes: float = 0.0, made_with: str = "") -> Checkpoint:
    """The checkpoint of the run in a folder; the defaults do for reading it."""
    return Checkpoint(folder / FILE, minutes, made_with)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state, "<parameter number>.<name>" each; its settings are the stage's."""
    state: dict[int, dict[str, Any]] = optimiser.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, values in state.items()
        for name, value in values.items()
    }


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
