"""Encode stage: batches of pictures of several videos, encoded by threads, as features by video."""

import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench.device import make_current
from meid_bench.errors import DataError, MeidBenchError
from meid_bench.features.decode_pool import DecodeTask
from meid_bench.features.encoder import Encoder
from meid_bench.features.frames import DecodedFrames
from meid_bench.features.manifest import Failure
from meid_bench.features.shard import VideoFeatures

# How often a wait for an empty batch looks for a thread's error, in seconds.
SECONDS_PER_LOOK = 0.2


@dataclass(eq=False)
class _Pass:
    """A pass in progress: the encoder's output, (n, D) float16, and how many rows are missing."""

    task: DecodeTask
    decoded: DecodedFrames
    output: NDArray[np.float16]
    missing: int


@dataclass(eq=False)
class _Batch:
    """Pictures of one run of the model; a part is a pass, its first row, a slice of the output."""

    pictures: torch.Tensor
    filled: int = 0
    parts: list[tuple[_Pass, int, slice]] = field(default_factory=list)


class EncodeStage:
    """Takes decoded passes over videos, gives their features.

    Args:
        encoder: What encodes.
        threads: Threads that each run whole batches: on a CPU one a core, each computing with
            that one; on a GPU one, which launches a batch before it waits for the one before.
        done: Called by a thread with a pass's features, or with why it has none.
    """

    def __init__(
        self,
        encoder: Encoder,
        threads: int,
        done: Callable[[DecodeTask, VideoFeatures | Failure], None],
    ) -> None:
        self._encoder = encoder
        self._done = done
        self._lock = threading.Lock()
        self._stopped = False
        self._torch_threads = torch.get_num_threads()
        side, pinned = encoder.transform.crop, encoder.device.type == "cuda"
        self._empty: queue.Queue[_Batch] = queue.Queue()
        for _ in range(2 * threads + 1):
            shape = (encoder.batch, 3, side, side)
            self._empty.put(_Batch(torch.zeros(shape, dtype=torch.uint8, pin_memory=pinned)))
        self._full: queue.Queue[_Batch | None] = queue.Queue()
        self._open: _Batch | None = None
        self._pool = ThreadPoolExecutor(threads)
        self._threads = [self._pool.submit(self._encode) for _ in range(threads)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopped = kind is not None
        self._end_threads()
        torch.set_num_threads(self._torch_threads)

    def add(self, task: DecodeTask, decoded: DecodedFrames, pictures: NDArray[np.uint8]) -> None:
        """Take a pass and copy its pictures; waits while every batch is full.

        Args:
            task: Of which video it is.
            decoded: Which frames were taken.
            pictures: (m, 3, S, S) uint8, the distinct ones.
        """
        shown = self._encoder.shown(decoded)
        each = self._encoder.frames_per_row
        output = np.empty((len(shown) // each, self._encoder.width), np.float16)
        begun = _Pass(task, decoded, output, len(output))
        start = 0
        while start < len(shown):
            batch = self._open = self._open or self._next_empty()
            end = min(batch.filled + len(shown) - start, self._encoder.batch)
            count = end - batch.filled
            target = batch.pictures.numpy()[batch.filled : end]
            np.take(pictures, shown[start : start + count], axis=0, out=target)
            batch.parts.append((begun, start // each, slice(batch.filled // each, end // each)))
            batch.filled = end
            start += count
            if batch.filled == self._encoder.batch:
                self._send(batch)

    def flush(self) -> None:
        """Fill the last batch up with zeros, and wait until everything is encoded."""
        if self._open is not None:
            self._open.pictures[self._open.filled :] = 0
            self._send(self._open)
        self._end_threads()
        self.check()

    def check(self) -> None:
        """Raise what a thread has raised."""
        for thread in self._threads:
            if not thread.done():
                continue
            try:
                thread.result()
            except torch.OutOfMemoryError as error:
                raise MeidBenchError(
                    f"Batches of {self._encoder.batch} do not fit into the memory of "
                    f"{self._encoder.device} ({str(error).partition('.')[0]}); try a smaller "
                    "--batch"
                ) from error

    def _next_empty(self) -> _Batch:
        while True:
            self.check()
            try:
                return self._empty.get(timeout=SECONDS_PER_LOOK)
            except queue.Empty:
                continue

    def _send(self, batch: _Batch) -> None:
        self._open = None
        self._full.put(batch)

    def _end_threads(self) -> None:
        for _ in self._threads:
            self._full.put(None)
        self._pool.shutdown()

    def _encode(self) -> None:
        """Encode batches; a GPU gets the next one, if it is full, before it is waited for."""
        make_current(self._encoder.device)
        if self._encoder.device.type == "cpu":
            torch.set_num_threads(1)
        launched: deque[tuple[_Batch, Callable[[], NDArray[np.float16]]]] = deque()
        for batch in iter(self._full.get, None):
            if self._stopped:
                return
            launched.append((batch, self._encoder.launch(batch.pictures)))
            while len(launched) > 1 or (launched and self._full.empty()):
                self._finish(*launched.popleft())
        for batch, result in launched:
            self._finish(batch, result)

    def _finish(self, batch: _Batch, result: Callable[[], NDArray[np.float16]]) -> None:
        output = result()
        for begun, start, part in batch.parts:
            rows = output[part]
            begun.output[start : start + len(rows)] = rows
            with self._lock:
                begun.missing -= len(rows)
                complete = not begun.missing
            if complete:
                self._done(begun.task, self._features(begun))
        self._empty.put(_Batch(batch.pictures))

    def _features(self, complete: _Pass) -> VideoFeatures | Failure:
        decoded = complete.decoded
        try:
            return VideoFeatures(
                id=complete.task.id,
                features=complete.output[self._encoder.rows(decoded)],
                frame_index=decoded.index.astype(np.int32),
                frame_time=decoded.time.astype(np.float32),
                num_frames=decoded.num_frames,
                num_damaged=decoded.num_damaged,
            )
        except DataError:
            return Failure(complete.task.id, "its features are not finite in float16", "encoder")
