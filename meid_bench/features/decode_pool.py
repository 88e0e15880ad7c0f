"""Decode pool: processes that decode videos into shared memory, each of them replaceable."""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench.errors import MeidBenchError
from meid_bench.features.decoders import decode_video
from meid_bench.features.frames import DecodedFrames, FrameRule
from meid_bench.features.transform import Transform
from meid_bench.mainless import ctrl_c_ignored, mainless
from meid_bench.number_text import size_text

# How long a worker may take to start, and how many starts of each may fail.
START_SECONDS, STARTS = 300.0, 3
# After so many seconds beyond its time a worker ends itself: the main process may be gone.
GRACE = 30.0


@dataclass(frozen=True)
class DecodeTask:
    """A pass over a video.

    Attributes:
        id: The video's.
        path: Its file or folder.
        sequential: Whether to decode it frame by frame.
        first: The row that the pass begins with.
    """

    id: str
    path: Path
    sequential: bool = False
    first: int = 0


@dataclass(frozen=True)
class DecodeSettings:
    """What is the same for every video.

    Attributes:
        rule: Which frames.
        transform: From frames to pictures.
        decoder: As `decode_video` takes it.
        timeout: Seconds that a pass may take.
        decode: The function, with the signature of `decode_video`.
    """

    rule: FrameRule
    transform: Transform
    decoder: str = "pyav"
    timeout: float = 600.0
    decode: Callable[..., DecodedFrames] = decode_video

    @property
    def slot_shape(self) -> tuple[int, int, int, int]:
        """Shape of the pictures of one pass, (P, 3, S, S)."""
        return (self.rule.pictures, 3, self.transform.crop, self.transform.crop)


def slot_views(memory: Any, settings: DecodeSettings) -> NDArray[np.uint8]:
    """The shared memory as (slots, P, 3, S, S) uint8."""
    return np.frombuffer(memory, dtype=np.uint8).reshape(-1, *settings.slot_shape)


def work(connection: Connection, memory: Any, settings: DecodeSettings) -> None:
    """A worker: receive (task, slot), send what `decode_into` returns, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides
    slots = slot_views(memory, settings)
    with Path(os.devnull).open("w") as nowhere:
        try:
            connection.send(None)
            while True:
                task, slot = connection.recv()
                faulthandler.dump_traceback_later(settings.timeout + GRACE, exit=True, file=nowhere)
                answer = decode_into(slots[slot], task, settings)
                faulthandler.cancel_dump_traceback_later()
                connection.send(answer)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the main process has gone


def decode_into(
    slot: NDArray[np.uint8], task: DecodeTask, settings: DecodeSettings
) -> DecodedFrames | str:
    """Decode one pass; its distinct pictures become the first of `slot`, (P, 3, S, S) uint8.

    Returns:
        Which frames were decoded, or the reason why none were.
    """

    def keep(number: int, frame: NDArray[np.uint8]) -> None:
        slot[number] = settings.transform.picture(frame).numpy()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with more, a resized pixel in 100,000 is rounded the other way
    try:
        options = {"decoder": settings.decoder, "sequential": task.sequential}
        rule = replace(settings.rule, first=task.first)
        return settings.decode(task.path, rule, keep, **options)
    except MeidBenchError as error:
        return str(error)
    except Exception as error:  # a fault of one video, whatever it is
        return f"{type(error).__name__}: {error}"
    finally:
        torch.set_num_threads(threads)


def _context() -> Any:
    """How workers start: forked from a server process that has imported what they need.

    A fork of this process would inherit torch's threads and a GPU's context.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["meid_bench.features.decode_pool", "meid_bench.features.pyav_decoder"]
    )
    return context


def prepare_workers() -> None:
    """Start the workers' server, which imports while this process loads its encoder.

    Workers inherit from it that Ctrl-C is ignored, before `work` can do so.
    """
    if _context().get_start_method() == "forkserver":
        with mainless(), ctrl_c_ignored():
            forkserver.ensure_running()


@dataclass(frozen=True, eq=False)
class DecodeResult:
    """What became of a task.

    Attributes:
        task: The task.
        decoded: Which frames were decoded, or the reason why none were.
        pictures: (m, 3, S, S) uint8, the distinct ones, valid until `DecodePool.release`.
        slot: The number of the slot that holds them.
    """

    task: DecodeTask
    decoded: DecodedFrames | str
    pictures: NDArray[np.uint8]
    slot: int


@dataclass(eq=False)
class _Worker:
    """A process, this end of its pipe, and its task.

    Each has a pipe of its own: a killed worker would leave the lock of a common queue held.
    """

    process: Any
    connection: Connection
    ready: bool = False
    task: DecodeTask | None = None
    slot: int = -1
    deadline: float = float("inf")


class DecodePool:
    """Decodes videos in worker processes, into a fixed number of slots of shared memory.

    A video whose worker dies or takes longer than `settings.timeout` is tried once more from its
    first pass on, frame by frame; then it has failed.

    Args:
        settings: What is the same for every video.
        workers: How many processes.
        slots: How many decoded passes fit into memory; at least `workers`.
    """

    def __init__(self, settings: DecodeSettings, workers: int, slots: int) -> None:
        self.settings = settings
        self._context = _context()
        size = int(np.prod(settings.slot_shape))
        # A RawArray has no name that a kill would leave, and needs no room in /dev/shm.
        try:
            self._memory = self._context.RawArray("B", slots * size)
        except OSError as error:
            raise MeidBenchError(
                f"There is no room for {slots} decoded videos of {size_text(size)} each "
                f"({error.strerror}); try fewer with --workers"
            ) from error
        self._slots = slot_views(self._memory, settings)
        self._free = deque(range(slots))
        self._again: deque[tuple[DecodeTask, int]] = deque()
        self._failed_starts = 0
        self._workers = [self._start() for _ in range(workers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.connection.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()

    @property
    def hungry(self) -> bool:
        """Whether a worker and a slot are free."""
        idle = sum(worker.task is None for worker in self._workers)
        return bool(self._free) and idle > len(self._again)

    @property
    def busy(self) -> int:
        """How many results are still to come."""
        return sum(worker.task is not None for worker in self._workers) + len(self._again)

    @property
    def processes(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def submit(self, task: DecodeTask) -> None:
        """Begin a task; only while `hungry`, or after `release` for the next pass of its video."""
        self._again.append((task, self._free.popleft()))
        self._hand_out()

    def release(self, result: DecodeResult) -> None:
        """Give the slot of a result back."""
        self._free.append(result.slot)

    def results(self, seconds: float) -> Iterator[DecodeResult]:
        """The results there are, after a wait of at most `seconds`."""
        first = min(worker.deadline for worker in self._workers)
        patience = max(0.0, min(seconds, first - time.monotonic()))
        ready = wait([worker.connection for worker in self._workers], patience)
        for worker in [worker for worker in self._workers if worker.connection in ready]:
            try:
                answer = worker.connection.recv()
            except (EOFError, OSError):
                yield from self._replace(worker, "its decoder crashed")
                continue
            if not worker.ready:
                worker.ready, worker.deadline = True, float("inf")
                self._failed_starts = 0
                continue
            yield self._result(worker, answer)
        now = time.monotonic()
        late = [worker for worker in self._workers if worker.deadline <= now]
        # An answer that waits in the pipe is not late: the caller was busy.
        for worker in [worker for worker in late if not worker.connection.poll()]:
            yield from self._replace(
                worker, f"decoding took longer than {self.settings.timeout:g} seconds"
            )
        self._hand_out()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work, args=(theirs, self._memory, self.settings), daemon=True
        )
        prepare_workers()
        with mainless():
            process.start()
        theirs.close()  # else the worker's end would not be noticed
        return _Worker(process, ours, deadline=time.monotonic() + START_SECONDS)

    def _hand_out(self) -> None:
        for worker in self._workers:
            if not self._again:
                return
            if worker.ready and worker.task is None:
                worker.task, worker.slot = self._again.popleft()
                worker.deadline = time.monotonic() + self.settings.timeout
                with contextlib.suppress(OSError):  # it has just died: `results` will notice
                    worker.connection.send((worker.task, worker.slot))

    def _result(self, worker: _Worker, decoded: DecodedFrames | str) -> DecodeResult:
        assert worker.task is not None
        count = 0 if isinstance(decoded, str) else len(decoded.distinct)
        pictures = self._slots[worker.slot][:count]
        result = DecodeResult(worker.task, decoded, pictures, worker.slot)
        worker.task, worker.slot, worker.deadline = None, -1, float("inf")
        return result

    def _replace(self, worker: _Worker, reason: str) -> Iterator[DecodeResult]:
        """Replace a worker that is dead or too slow; try its video once more."""
        worker.connection.close()
        worker.process.kill()
        worker.process.join()
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts > STARTS * len(self._workers):
                raise MeidBenchError(
                    "Decode workers die as they start (exit code "
                    f"{worker.process.exitcode}); is memory short? try fewer with --workers"
                )
        if worker.task is not None and worker.task.sequential:
            yield self._result(worker, f"{reason}, twice")
        elif worker.task is not None:
            self._again.append((replace(worker.task, sequential=True, first=0), worker.slot))
        self._workers[self._workers.index(worker)] = self._start()
