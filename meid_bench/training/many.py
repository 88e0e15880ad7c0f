"""Many runs: every method with every seed, one after another; a failed one stops no other."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from meid_bench.errors import MeidBenchError, SettingError
from meid_bench.methods.registry import registered
from meid_bench.results.record import Result
from meid_bench.training.checkpoint import checkpoint_of
from meid_bench.training.request import Plan, Request, plan

ALL = "all"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What came of one request.

    Attributes:
        request: What was asked.
        result: Its record; None where it failed.
        folder: The run's folder; None where it could not even be planned.
        error: Why it failed, a sentence.
        skipped: It was finished before.
    """

    request: Request
    result: Result | None = None
    folder: Path | None = None
    error: str | None = None
    skipped: bool = False


def expand(base: Request, methods: Sequence[str], seeds: Sequence[int]) -> tuple[Request, ...]:
    """A request for every method and seed, all methods of the first seed first.

    Args:
        base: Everything else.
        methods: Names; "all" stands for every registered one.
        seeds: Seeds.

    Raises:
        SettingError: There is no method or no seed, or one stands twice.
    """
    names = [name for method in methods for name in (registered() if method == ALL else [method])]
    for kind, values in (("method", names), ("seed", seeds)):
        if not values:
            raise SettingError(f"There is no {kind} to run; name one or several, comma-separated")
        if len(set(values)) < len(values):
            raise SettingError(f"A {kind} stands twice in {', '.join(map(str, values))}")
    return tuple(replace(base, method=name, seed=seed) for seed in seeds for name in names)


def run_many(
    requests: Sequence[Request],
    root: Path,
    start: Callable[[Plan], Result],
    say: Say = lambda line: None,
) -> list[Outcome]:
    """Run every request that has no record yet.

    Args:
        requests: What to run, in order.
        root: The data root.
        start: Runs one plan, for example `meid_bench.training.run.run` on a device.
        say: Takes one line for each run that ended, was skipped, or failed.
    """
    outcomes = []
    for number, request in enumerate(requests, start=1):
        outcome = attempt(request, root, start)
        say(f"[{number}/{len(requests)}] {outcome_line(outcome)}")
        outcomes.append(outcome)
    return outcomes


def failures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that failed."""
    return [outcome for outcome in outcomes if outcome.error is not None]


def failed_sentence(failed: Sequence[Outcome], total: int) -> str:
    """Which of `total` runs failed, a sentence."""
    names = ", ".join(outcome.request.shown for outcome in failed)
    return f"{len(failed)} of {total} runs failed: {names}; the others are kept"


def kept_sentence(planned: Plan) -> str:
    """What there is of a run that was stopped."""
    if planned.grid:
        return "finished learning rates are kept, and the one in progress to its last checkpoint"
    progress = checkpoint_of(planned.folder).progress()
    done = 0 if progress is None else len(progress.curve)
    return f"{done} of {planned.epochs} epochs are kept in {planned.folder}"


def attempt(request: Request, root: Path, start: Callable[[Plan], Result]) -> Outcome:
    """Plan and run one request; whatever it raises is in the outcome."""
    folder = None
    try:
        planned = plan(request, root)
        folder = planned.folder
        skipped = planned.finished
        return Outcome(request, start(planned), folder, skipped=skipped)
    except MeidBenchError as error:
        return Outcome(request, None, folder, str(error))
    except Exception as error:  # a method's own mistake: its author wants the whole of it
        traceback.print_exc()
        return Outcome(request, None, folder, f"{type(error).__name__}: {error}")


def outcome_line(outcome: Outcome) -> str:
    """What came of a run, a line."""
    name = outcome.request.shown
    if outcome.result is None:
        return f"{name} FAILED: {outcome.error}"
    test = outcome.result.test
    tail = "" if test.tail is None else f", tail {test.tail:.3f}"
    seconds = outcome.result.seconds or 0.0
    end = "was there already" if outcome.skipped else f"{seconds:.0f} s"
    return f"{name}: test mAP {test.overall:.3f}{tail}, {end}"
