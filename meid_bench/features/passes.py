"""Passes: the rows of a video that is decoded in several goes over its file, put together."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from meid_bench.features.decode_pool import DecodeTask
from meid_bench.features.frames import DecodedFrames
from meid_bench.features.manifest import Failure
from meid_bench.features.shard import VideoFeatures


@dataclass(eq=False)
class _Video:
    """A video in progress: its first pass, and the features of each pass by its first row."""

    decoded: DecodedFrames
    parts: dict[int, VideoFeatures] = field(default_factory=dict)


class Passes:
    """Says which pass comes next, and gives each video once, whole or failed.

    Where a later pass meets damage that an earlier one skipped, they disagree on the frames: the
    video begins again, every frame decoded in each pass.

    Args:
        frames: T.
        decoder: Its name, for failures.
        done: Called with a video's features, or with why it has none; by any thread.
    """

    def __init__(
        self, frames: int, decoder: str, done: Callable[[VideoFeatures | Failure], None]
    ) -> None:
        self._frames = frames
        self._decoder = decoder
        self._done = done
        self._lock = threading.Lock()
        # By id and `sequential`: the features of a try that was given up may still come.
        self._videos: dict[tuple[str, bool], _Video] = {}

    def take(self, task: DecodeTask, decoded: DecodedFrames) -> tuple[bool, DecodeTask | None]:
        """Note a decoded pass: whether to encode it, and the pass to decode next."""
        with self._lock:
            if not task.first:
                self._videos[_key(task)] = _Video(decoded)
            video = self._videos.get(_key(task))
            if video is None:  # its features were not finite, meanwhile
                return False, None
            begun = video.decoded
            if (decoded.num_frames, decoded.num_damaged) == (begun.num_frames, begun.num_damaged):
                end = task.first + len(decoded.clips)
                return True, replace(task, first=end) if end < self._frames else None
            del self._videos[_key(task)]
        if not task.sequential:
            return False, replace(task, first=0, sequential=True)
        reason = f"decodes to {begun.num_frames} frames, and then to {decoded.num_frames}"
        self._done(Failure(task.id, reason, self._decoder))
        return False, None

    def fail(self, task: DecodeTask, reason: str) -> None:
        """Note that a pass cannot be decoded."""
        self._close(task)
        self._done(Failure(task.id, reason, self._decoder))

    def put(self, task: DecodeTask, entry: VideoFeatures | Failure) -> None:
        """Note what became of a pass in the encoder."""
        with self._lock:
            video = self._videos.get(_key(task))
            if video is None:
                return
            if isinstance(entry, VideoFeatures):
                video.parts[task.first] = entry
                if sum(len(part.features) for part in video.parts.values()) < self._frames:
                    return
                entry = _joined([video.parts[first] for first in sorted(video.parts)])
        self._close(task)
        self._done(entry)

    def _close(self, task: DecodeTask) -> None:
        with self._lock:
            for sequential in (False, True):
                self._videos.pop((task.id, sequential), None)


def _key(task: DecodeTask) -> tuple[str, bool]:
    return task.id, task.sequential


def _joined(parts: list[VideoFeatures]) -> VideoFeatures:
    """The passes of a video, in the order of their rows, as one."""
    return replace(
        parts[0],
        features=np.concatenate([part.features for part in parts]),
        frame_index=np.concatenate([part.frame_index for part in parts]),
        frame_time=np.concatenate([part.frame_time for part in parts]),
    )
