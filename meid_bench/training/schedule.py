"""Schedule: many runs on several devices, each run alone on one of them."""

import multiprocessing
import re
import signal
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

import torch

from meid_bench.cores import cores
from meid_bench.errors import SettingError
from meid_bench.results.record import Result
from meid_bench.training.execution import Execution
from meid_bench.training.many import Outcome, Say, attempt, outcome_line, run_many
from meid_bench.training.request import Plan, Request
from meid_bench.training.run import run
from meid_bench.training.watching import curve_log

T = TypeVar("T")


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


def run_on_devices(
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

        def start(planned: Plan) -> Result:
            with curve_log(planned, tensorboard, bar) as log:
                return run(planned, devices[0], log, execution)

        return run_many(requests, root, start, say)
    waiting = list(enumerate(requests))[::-1]
    outcomes: dict[int, Outcome] = {}
    shared = replace(execution, neighbours=len(devices))
    workers = [_Worker(root, device, shared, tensorboard) for device in devices]

    def finish(number: int, outcome: Outcome) -> None:
        outcomes[number] = outcome
        say(f"[{len(outcomes)}/{len(requests)}] {outcome_line(outcome)}")

    try:
        busy = [worker for worker in workers if waiting and worker.begin(*waiting.pop())]
        while busy:
            ready = wait([worker.pipe for worker in busy])
            for worker in [worker for worker in busy if worker.pipe in ready]:
                finish(worker.number, worker.outcome())
                if not (worker.alive and waiting and worker.begin(*waiting.pop())):
                    busy.remove(worker)
    finally:
        for worker in workers:
            worker.end()
    for number, request in waiting:
        finish(number, Outcome(request, error="every process that could have run it has ended"))
    return [outcomes[number] for number in range(len(requests))]


class _Worker:
    """A process with a device of its own, and the run that it is at."""

    def __init__(
        self, root: Path, device: torch.device, execution: Execution, tensorboard: bool
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.device = device
        self.alive = True
        self.number = -1
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, root, str(device), execution, tensorboard)
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # so that the pipe ends with the process
        self._request: Request | None = None

    def begin(self, number: int, request: Request) -> bool:
        """Give it a run."""
        self.number, self._request = number, request
        self.pipe.send(request)
        return True

    def outcome(self) -> Outcome:
        """What came of the run; a failure where the process has ended."""
        assert self._request is not None
        try:
            outcome: Outcome = self.pipe.recv()
        except EOFError:
            self.alive = False
            self._process.join()
            error = (
                f"the process on {self.device} ended early (exit {self._process.exitcode}); "
                "run the same command again to go on"
            )
            return Outcome(self._request, error=error)
        return outcome

    def end(self) -> None:
        """Stop it, whatever it is at."""
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

    def start(planned: Plan) -> Result:
        with curve_log(planned, tensorboard, shown=False) as log:
            return run(planned, torch.device(device), log, execution)

    while True:
        pipe.send(attempt(pipe.recv(), root, start))
