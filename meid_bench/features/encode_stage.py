"""Encode stage: batches that cross videos, encoded by threads, put together per video again."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench.device import make_current
from meid_bench.errors import DataError, MeidBenchError
from meid_bench.features.encoder import Encoder
from meid_bench.features.frames import DecodedFrames
from meid_bench.features.manifest import Failure
from meid_bench.features.shard import VideoFeatures

# How often a thread that waits looks whether another one has failed, in seconds.
LOOK = 0.2


@dataclass(eq=False)
class _Video:
    """A video whose features are coming in: (n, D) float16, and how many rows are to come."""

    id: str
    decoded: DecodedFrames
    features: NDArray[np.float16]
    left: int


@dataclass(eq=False)
class _Batch:
    """Pictures of one forward pass, and which rows of which video they are."""

    pictures: torch.Tensor
    filled: int = 0
    parts: list[tuple[_Video, int, int, int]] = field(default_factory=list)


class EncodeStage:
    """Takes decoded videos, gives features.

    Args:
        encoder: What encodes.
        threads: Threads that each run whole batches. On a CPU each computes with one core:
            several cores on one batch would wait for each other, and for the decoders. A GPU
            takes one thread, which begins a batch before it waits for the one before.
        done: Called with each video's features, or with the reason why it has none; by any of the
            threads.
    """

    def __init__(
        self,
        encoder: Encoder,
        threads: int,
        done: Callable[[VideoFeatures | Failure], None],
    ) -> None:
        self._encoder = encoder
        self._done = done
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._stopped = False
        self._torch_threads = torch.get_num_threads()
        side = encoder.transform.crop
        pinned = encoder.device.type == "cuda"
        self._empty: queue.Queue[_Batch] = queue.Queue()
        for _ in range(2 * threads + 1):
            shape = (encoder.batch, 3, side, side)
            self._empty.put(_Batch(torch.zeros(shape, dtype=torch.uint8, pin_memory=pinned)))
        self._full: queue.Queue[_Batch | None] = queue.Queue()
        self._open: _Batch | None = None
        self._threads = [
            threading.Thread(target=self._guarded, daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = self._stopped or kind is not None
        for _ in self._threads:
            self._full.put(None)
        for thread in self._threads:
            thread.join()
        torch.set_num_threads(self._torch_threads)

    def add(self, video_id: str, decoded: DecodedFrames, pictures: NDArray[np.uint8]) -> None:
        """Take a video; its pictures are copied before this returns.

        Waits while every batch is full.

        Args:
            video_id: Its id.
            decoded: Which frames were taken of it.
            pictures: (m, 3, S, S) uint8, the distinct ones.
        """
        order = self._order(decoded)
        width = self._encoder.width
        video = _Video(video_id, decoded, np.empty((len(order), width), np.float16), len(order))
        start = 0
        while start < len(order):
            batch = self._open = self._open or self._get_empty()
            count = min(len(order) - start, self._encoder.batch - batch.filled)
            target = batch.pictures.numpy()[batch.filled : batch.filled + count]
            np.take(pictures, order[start : start + count], axis=0, out=target)
            batch.parts.append((video, start, batch.filled, count))
            batch.filled += count
            start += count
            if batch.filled == self._encoder.batch:
                self._send(batch)

    def flush(self) -> None:
        """Fill the last batch up, encode what is left, and wait for all of it."""
        if self._open is not None:
            self._open.pictures[self._open.filled :] = 0
            self._send(self._open)
        for _ in self._threads:
            self._full.put(None)
        for thread in self._threads:
            thread.join()
        self.check()

    def check(self) -> None:
        """Raise what a thread has raised."""
        if self._error is not None:
            raise self._error

    def _order(self, decoded: DecodedFrames) -> NDArray[np.int64]:
        """Which of the distinct pictures the model is shown, one after the other."""
        segment = self._encoder.segment
        if segment == 1:
            return np.arange(len(decoded.distinct))
        # A model that looks at neighbours is shown repeated frames too, and whole segments.
        return np.pad(decoded.rows, (0, -len(decoded.rows) % segment), mode="edge")

    def _get_empty(self) -> _Batch:
        while True:
            self.check()
            try:
                return self._empty.get(timeout=LOOK)
            except queue.Empty:
                continue

    def _send(self, batch: _Batch) -> None:
        self._full.put(batch)
        self._open = None

    def _guarded(self) -> None:
        try:
            make_current(self._encoder.device)
            if self._encoder.device.type == "cpu":
                torch.set_num_threads(1)
            self._encode()
        except torch.OutOfMemoryError as error:
            self._error = MeidBenchError(
                f"Batches of {self._encoder.batch} do not fit into the memory of "
                f"{self._encoder.device} ({str(error).partition('.')[0]}); try a smaller --batch"
            )
            self._stopped = True
        except BaseException as error:
            self._error = self._error or error
            self._stopped = True

    def _encode(self) -> None:
        """Begin each batch before the one before it is waited for: a GPU is never without."""
        before: tuple[_Batch, Callable[[], NDArray[np.float16]]] | None = None
        last = False
        while not (last or self._stopped):
            begun = None
            try:
                batch = self._full.get(block=before is None)
                last = batch is None
                if batch is not None:
                    begun = batch, self._encoder.launch(batch.pictures)
            except queue.Empty:
                pass
            if before is not None:
                self._finish(*before)
            before = begun

    def _finish(self, batch: _Batch, result: Callable[[], NDArray[np.float16]]) -> None:
        features = result()
        for video, start, row, count in batch.parts:
            video.features[start : start + count] = features[row : row + count]
            with self._lock:
                video.left -= count
                complete = video.left == 0
            if complete:
                self._done(self._features(video))
        self._empty.put(_Batch(batch.pictures))

    def _features(self, video: _Video) -> VideoFeatures | Failure:
        decoded = video.decoded
        rows = decoded.rows if self._encoder.segment == 1 else slice(len(decoded.rows))
        try:
            return VideoFeatures(
                id=video.id,
                features=video.features[rows],
                frame_index=decoded.index.astype(np.int32),
                frame_time=decoded.time.astype(np.float32),
                num_frames=decoded.num_frames,
                num_damaged=decoded.num_damaged,
            )
        except DataError:
            return Failure(video.id, "its features are not finite in float16", "encoder")
