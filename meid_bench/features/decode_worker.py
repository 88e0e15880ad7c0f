"""Decode worker: a process that decodes one video after the other into shared memory."""

import faulthandler
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench.errors import MeidBenchError
from meid_bench.features.decoders import decode_video
from meid_bench.features.frames import DecodedFrames
from meid_bench.features.transform import Transform

# A worker that outlives its time by this much, because nobody was there to end it, ends itself.
GRACE = 30.0


@dataclass(frozen=True)
class DecodeTask:
    """One video to decode: its id, its file or folder, and whether to decode it frame by frame."""

    id: str
    path: Path
    sequential: bool = False

    def carefully(self) -> "DecodeTask":
        """The same video, decoded frame by frame."""
        return replace(self, sequential=True)


@dataclass(frozen=True)
class DecodeSettings:
    """What is the same for every video.

    Attributes:
        frames: T.
        transform: From frames to pictures.
        decoder: As `decode_video` takes it.
        timeout: Seconds that a video may take.
        decode: What decodes, with the signature of `decode_video`.
    """

    frames: int
    transform: Transform
    decoder: str = "pyav"
    timeout: float = 600.0
    decode: Callable[..., DecodedFrames] = decode_video

    @property
    def slot_shape(self) -> tuple[int, int, int, int]:
        """Shape of the pictures of one video, (T, 3, S, S)."""
        return (self.frames, 3, self.transform.crop, self.transform.crop)


def slot_views(memory: Any, settings: DecodeSettings) -> NDArray[np.uint8]:
    """The shared memory as (slots, T, 3, S, S) uint8."""
    return np.frombuffer(memory, dtype=np.uint8).reshape(-1, *settings.slot_shape)


def work(connection: Connection, memory: Any, settings: DecodeSettings) -> None:
    """Decode until the other end closes.

    Receives (task, slot), leaves the distinct pictures of the video at the slot's beginning,
    and answers with `DecodedFrames`, or with the reason why there are none.
    """
    # Ctrl-C reaches the whole group; the main process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
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
            return  # The main process has gone.


def decode_into(
    slot: NDArray[np.uint8], task: DecodeTask, settings: DecodeSettings
) -> DecodedFrames | str:
    """Decode one video into `slot`, (T, 3, S, S); return the reason where that fails."""

    def keep(number: int, frame: NDArray[np.uint8]) -> None:
        slot[number] = settings.transform.picture(frame).numpy()

    try:
        return settings.decode(
            task.path,
            settings.frames,
            keep,
            decoder=settings.decoder,
            sequential=task.sequential,
        )
    except MeidBenchError as error:
        return str(error)
    except Exception as error:  # No video, however odd, may end more than itself.
        return f"{type(error).__name__}: {error}"
