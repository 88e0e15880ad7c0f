"""Many runs: every method with every seed, one at a time on each device; none stops another."""

import multiprocessing
import re
import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

import torch

from meid_bench.cores import cores
from meid_bench.errors import MeidBenchError, SettingError
from meid_bench.mainless import mainless
from meid_bench.methods.registry import registered
from meid_bench.number_text import score_text
from meid_bench.results.record import Result
from meid_bench.training.checkpoint import Checkpoint
from meid_bench.training.execution import Execution
from meid_bench.training.request import Plan, Request, plan_run
from meid_bench.training.run import run
from meid_bench.training.watching import curve_log

T = TypeVar("T")

ALL = "all"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """The end of one request.

    Attributes:
        request: What was asked.
        result: Its record; None where it failed.
        folder: The run's; None where it could not be planned.
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
        SettingError: There is no method or no seed, or one is listed twice.
    """
    names = [name for method in methods for name in (registered() if method == ALL else [method])]
    for kind, values in (("method", names), ("seed", seeds)):
        if not values:
            raise SettingError(f"There is no {kind} to run; name one or several, comma-separated")
        if len(set(values)) < len(values):
            raise SettingError(f"A {kind} is listed twice in {', '.join(map(str, values))}")
    return tuple(replace(base, method=name, seed=seed) for seed in seeds for name in names)


def part_of(items: Sequence[T], part: str | None) -> tuple[T, ...]:
    """Part i of n of a list, "i/n" with i from 1: every n-th, so that parts are alike in kind.

    Raises:
        SettingError: `part` is not of that form, or out of range.
    """
    if part is None:
        return tuple(items)
    found = re.fullmatch(r"(\d+)/(\d+)", part.strip())
    number, of = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= of:
        raise SettingError(f"--part {part!r} is no part; expected for example 2/4, from 1/4 to 4/4")
    return tuple(items[number - 1 :: of])


def run_many(
    requests: Sequence[Request],
    root: Path,
    start: Callable[[Plan], Result],
    say: Say = lambda line: None,
) -> list[Outcome]:
    """Run every request that has no record yet, in order, each by `start`.

    `say` takes one line for each run that ended, was skipped, or failed.
    """
    outcomes = []
    for number, request in enumerate(requests, start=1):
        outcome = attempt(request, root, start)
        say(f"[{number}/{len(requests)}] {outcome_line(outcome)}")
        outcomes.append(outcome)
    return outcomes


def run_on_each(
    requests: Sequence[Request],
    root: Path,
    devices: Sequence[torch.device],
    execution: Execution,
    say: Say,
    tensorboard: bool = False,
    bar: bool = True,
) -> list[Outcome]:
    """Run every request that has no record yet, one at a time on each device.

    Args:
        requests: What to run; each goes to the first device that is idle.
        root: The data root.
        devices: One process each; a single one is used by this process.
        execution: How; memory is shared among the processes.
        say: Takes one line for each run that ended, was skipped, or failed.
        tensorboard: Write events beside each record too.
        bar: Show the progress of a run, where there is one at a time.

    Returns:
        What came of each request, in their order.
    """
    if len(devices) == 1:
        return run_many(requests, root, _starter(devices[0], execution, tensorboard, bar), say)
    waiting = list(enumerate(requests))[::-1]
    outcomes: dict[int, Outcome] = {}
    shared = replace(execution, neighbours=len(devices))
    workers = [_Worker(root, device, shared, tensorboard) for device in devices]

    def finish(number: int, outcome: Outcome) -> None:
        outcomes[number] = outcome
        say(f"[{len(outcomes)}/{len(requests)}] {outcome_line(outcome)}")

    try:
        busy: dict[object, _Worker] = {}
        idle = workers
        while busy or (idle and waiting):
            for worker in idle[: len(waiting)]:
                worker.begin(*waiting.pop())
                busy[worker.pipe] = worker
            ended = [busy.pop(pipe) for pipe in wait([each.pipe for each in busy.values()])]
            for worker in ended:
                finish(worker.number, worker.outcome())
            idle = [worker for worker in ended if worker.alive]
    finally:
        for worker in workers:
            worker.end()
    for number, request in waiting:
        finish(number, Outcome(request, error="every process that could have run it has ended"))
    return [outcomes[number] for number in range(len(requests))]


def _starter(
    device: torch.device, execution: Execution, tensorboard: bool, bar: bool
) -> Callable[[Plan], Result]:
    def start(planned: Plan) -> Result:
        with curve_log(planned, tensorboard, bar) as log:
            return run(planned, device, log, execution)

    return start


class _Worker:
    """A process with a device of its own, and its present run."""

    def __init__(
        self, root: Path, device: torch.device, execution: Execution, tensorboard: bool
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.device = device
        self.alive = True
        self.number: int
        self.request: Request
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, root, str(device), execution, tensorboard)
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        with mainless():
            self._process.start()
        theirs.close()  # so that the pipe ends with the process

    def begin(self, number: int, request: Request) -> None:
        """Give it a run."""
        self.number, self.request = number, request
        self.pipe.send(request)

    def outcome(self) -> Outcome:
        """The run's end; a failure where the process has ended."""
        try:
            outcome: Outcome = self.pipe.recv()
        except EOFError:
            self.alive = False
            self._process.join()
            error = (
                f"the process on {self.device} ended early (exit {self._process.exitcode}); "
                "run the same command again to resume it"
            )
            return Outcome(self.request, error=error)
        return outcome

    def end(self) -> None:
        """Stop it at once."""
        self._process.terminate()
        self._process.join()
        self.pipe.close()


def _work(
    pipe: "Connection[Outcome, Request]",
    root: Path,
    device: str,
    execution: Execution,
    tensorboard: bool,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the main process ends this
    if device == "cpu":
        torch.set_num_threads(max(1, cores() // execution.neighbours))

    start = _starter(torch.device(device), execution, tensorboard, bar=False)
    while True:
        pipe.send(attempt(pipe.recv(), root, start))


def failed_sentence(outcomes: Sequence[Outcome]) -> str | None:
    """Which of the runs failed, a sentence; None where none did."""
    failed = [outcome.request.shown for outcome in outcomes if outcome.error is not None]
    if not failed:
        return None
    names = ", ".join(failed)
    return f"{len(failed)} of {len(outcomes)} runs failed: {names}; the others are kept"


def kept_sentence(planned: Plan) -> str:
    """What is kept of a run that was stopped."""
    if planned.trials:
        return "finished trials are kept, and the one in progress to its last checkpoint"
    progress = Checkpoint(planned.folder).load(tensors=False)
    done = 0 if progress is None else len(progress.curve)
    return f"{done} of {planned.epochs} epochs are kept in {planned.folder}"


def attempt(request: Request, root: Path, start: Callable[[Plan], Result]) -> Outcome:
    """Plan and run one request; an error is in the outcome."""
    folder = None
    try:
        planned = plan_run(request, root)
        folder = planned.folder
        skipped = planned.finished
        return Outcome(request, start(planned), folder, skipped=skipped)
    except MeidBenchError as error:
        return Outcome(request, None, folder, str(error))
    except Exception as error:  # a mistake of the method's author
        traceback.print_exc()
        return Outcome(request, None, folder, f"{type(error).__name__}: {error}")


def outcome_line(outcome: Outcome) -> str:
    """The end of a run, a line."""
    name = outcome.request.shown
    if outcome.result is None:
        return f"{name} FAILED: {outcome.error}"
    test = outcome.result.test
    tail = "" if test.tail is None else f", tail {score_text(test.tail)}"
    seconds = outcome.result.seconds or 0.0
    end = "was there already" if outcome.skipped else f"{seconds:.0f} s"
    return f"{name}: test mAP {score_text(test.overall)}{tail}, {end}"
