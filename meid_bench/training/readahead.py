"""Read ahead: threads read the next batches into a fixed number of buffers."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meid_bench.cores import cores

BUFFERS = 3  # one on its way to the device, one full, one being filled
MOST_READERS = 8
# Reads rows `index` of the features into a float16 tensor of their shape.
Read = Callable[[NDArray[np.int64], Tensor], None]


def read_ahead(
    read: Read,
    index: NDArray[np.int64],
    parts: Sequence[slice],
    frame_shape: tuple[int, int],
    device: torch.device,
) -> Iterator[Tensor]:
    """Batches of features on the device, in order.

    Args:
        read: Where features come from; called from several threads.
        index: (N,) int64, an epoch's rows in order.
        parts: Which of them make up each batch.
        frame_shape: (T, D).
        device: Where batches are wanted.

    Yields:
        (B, T, D) float16 on the device; on a CPU good only until the next one is asked for.
    """
    largest = max((part.stop - part.start for part in parts), default=0)
    pin = device.type == "cuda"
    shape = (BUFFERS, largest, *frame_shape)
    buffers = torch.empty(shape, dtype=torch.float16, pin_memory=pin)
    copied: list[torch.cuda.Event | None] = [None] * BUFFERS
    readers = min(cores(), MOST_READERS)
    pool = ThreadPoolExecutor(readers)
    waiting: deque[tuple[int, Tensor, list[Future[None]]]] = deque()
    numbered = enumerate(parts)

    def begin(count: int) -> None:
        for number, part in islice(numbered, count):
            place = number % BUFFERS
            event = copied[place]
            if event is not None:  # the copy of `BUFFERS` batches ago
                event.synchronize()
            rows = index[part]
            out = buffers[place, : len(rows)]
            pieces = [
                slice(len(rows) * i // readers, len(rows) * (i + 1) // readers)
                for i in range(readers)
            ]
            tasks = [pool.submit(read, rows[piece], out[piece]) for piece in pieces]
            waiting.append((place, out, tasks))

    try:
        begin(BUFFERS - 1)
        while waiting:
            place, out, tasks = waiting.popleft()
            for task in tasks:
                task.result()
            batch = out.to(device, non_blocking=True)
            if pin:
                copied[place] = torch.cuda.current_stream(device).record_event()
            begin(1)
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)
