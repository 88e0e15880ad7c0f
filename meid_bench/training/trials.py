"""Trials: one run per learning rate of protocol "equal", and val's choice among them."""

import shutil
from collections.abc import Callable
from dataclasses import replace

from meid_bench.features.manifest import FILE as MANIFEST
from meid_bench.files import atomic
from meid_bench.results.record import CURVE, SCORES, Result, Trial, save_record
from meid_bench.training.model import MODEL, WEIGHTS
from meid_bench.training.request import Plan


def best_trial(plan: Plan, run_trial: Callable[[Plan], Result]) -> Result:
    """Run every learning rate of the plan's grid; returns the record of the best on val.

    Each trial has a folder of its own within the run's, so that a second call goes on where an
    earlier one ended; they are removed once the record is there.

    Args:
        plan: With a grid.
        run_trial: Runs one learning rate, or reads its record where it is finished.
    """
    results = {rate: run_trial(plan.trial(rate)) for rate in plan.grid}
    trials = tuple(Trial(rate, _val_map(result)) for rate, result in results.items())
    chosen = max(trials, key=lambda trial: trial.val_map).lr  # the smallest of equals
    for name in (WEIGHTS, MODEL, MANIFEST, SCORES, CURVE):
        with atomic(plan.folder / name) as temporary:
            shutil.copyfile(plan.trial(chosen).folder / name, temporary)
    result = replace(
        results[chosen],
        settings=plan.settings,
        trials=trials,
        seconds=sum(result.seconds or 0.0 for result in results.values()),
    )
    save_record(result, plan.folder)
    for rate in plan.grid:
        shutil.rmtree(plan.trial(rate).folder)
    return result


def _val_map(result: Result) -> float:
    return result.val.overall
