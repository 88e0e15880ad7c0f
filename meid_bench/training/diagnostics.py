"""Diagnostics: what a method measures of itself each epoch, and the warnings that follow."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from meid_bench.methods.method import Batch, Method, Stage
from meid_bench.methods.settings import RunnerConfig
from meid_bench.number_text import score_text
from meid_bench.results.record import StageResult
from meid_bench.training.data import Examples, draw_frames


def diagnose(
    method: Method, stage: Stage, train: Examples, config: RunnerConfig, seed: int
) -> dict[str, float | None]:
    """The method's measurements of itself, in eval mode, on the same first videos each epoch."""
    if type(method).diagnostics is Method.diagnostics:
        return {}
    method.eval()
    features, labels = train.some(np.arange(min(config.batch, len(train))))
    generator = torch.Generator(train.device).manual_seed(seed)
    first = Batch(features, labels, None, generator)
    first.features = draw_frames(first, config)
    values = method.diagnostics(first, stage)
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def alarms(method: Method, stage: Stage, diagnostics: Mapping[str, float | None]) -> list[str]:
    """Warnings from the last measurements of a stage, sentences."""
    raised = []
    for name, alarm in method.alarms.items():
        value = diagnostics.get(name)
        if value is not None and not alarm.low <= value <= alarm.high:
            raised.append(f"Stage {stage.name!r}: {alarm.meaning} ({name} = {value:.3g})")
    return raised


def setback(stages: Sequence[StageResult]) -> list[str]:
    """A warning where the last stage stayed below the one before it."""
    if len(stages) < 2 or stages[-1].best_val_map >= stages[-2].best_val_map:
        return []
    before, last = stages[-2:]
    return [
        f"Stage {last.name!r} never came up to the one before it: best val mAP "
        f"{score_text(last.best_val_map)} after {score_text(before.best_val_map)}; it may want a "
        "higher learning rate or more epochs"
    ]
