"""Checkpoint: the state of training, and the one file without pickles that holds it."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from meid_bench import distributed
from meid_bench.codec import decode, encode
from meid_bench.errors import DataError
from meid_bench.files import atomic
from meid_bench.results.record import CurvePoint, StageResult

CHECKPOINT = "checkpoint.safetensors"
_PROGRESS = "progress"


@dataclass
class Fit:
    """How far training has come: what `fit` carries on, and what a checkpoint holds.

    Tensors are by name, as in a state dictionary, in host memory.

    Attributes:
        stage: Number of the stage to resume; the number of stages where all are done.
        epoch: The epoch of it to resume with.
        stages: Each finished stage's length and best epoch on val.
        best_epoch, best_map: The present stage's best on val; -1 and 0 before its first epoch.
        diagnostics: The method's last measurements of itself.
        warnings: What they say went wrong, sentences.
        curve: Every epoch's point.
        made_with: On what the epochs were computed, in words.
        best: Parameters and buffers of the present stage's best epoch; at the end the last one's.
        last: Those of the last finished stage's last epoch.
        model: Those of the present; only within a stage, while the state is on the disk.
        optimiser: Its state, as `optimiser_tensors` gives it; likewise.
    """

    stage: int = 0
    epoch: int = 0
    stages: list[StageResult] = field(default_factory=list)
    best_epoch: int = -1
    best_map: float = 0.0
    diagnostics: dict[str, float | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)
    made_with: str = ""
    best: dict[str, Tensor] = field(default_factory=dict)
    last: dict[str, Tensor] = field(default_factory=dict)
    model: dict[str, Tensor] = field(default_factory=dict)
    optimiser: dict[str, Tensor] = field(default_factory=dict)


_TENSORS = ("best", "last", "model", "optimiser")


class Checkpoint:
    """One run's resume file: written whole or not at all, each over the one before.

    Args:
        folder: The run's.
        minutes: Longest time between two writes.
        made_with: Device, precision and versions, in words.
    """

    def __init__(self, folder: Path, minutes: float = 0.0, made_with: str = "") -> None:
        self.path = folder / CHECKPOINT
        self.made_with = made_with
        self._seconds = 60 * minutes
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, fit: Fit) -> None:
        """Write the state, tensors as "<field>.<name>", all else as JSON; the first rank does."""
        if distributed.rank() > 0:
            return
        tensors = {
            f"{group}.{name}": value.detach().cpu().contiguous()
            for group in _TENSORS
            for name, value in getattr(fit, group).items()
        }
        rest = encode(replace(fit, best={}, last={}, model={}, optimiser={}))
        with atomic(self.path) as temporary:
            save_file(tensors, temporary, {_PROGRESS: json.dumps(rest)})
        self._last = time.monotonic()

    def load(self, tensors: bool = True) -> Fit | None:
        """The state, on request without its tensors; None where there is no file.

        Raises:
            DataError: The file is damaged, or of another version.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                fit = decode(Fit, json.loads(file.metadata()[_PROGRESS]))
                for key in file.keys() if tensors else ():
                    group, _, name = key.partition(".")
                    getattr(fit, group)[name] = file.get_tensor(key)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self.damaged(error) from error
        return fit

    def remove(self) -> None:
        """Take the file away: the run is done."""
        self.path.unlink(missing_ok=True)

    def damaged(self, error: Exception) -> DataError:
        """The error for a file that cannot be resumed from."""
        reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
        return DataError(
            f"{self.path} cannot be continued ({reason}); remove it to start the run again"
        )


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
