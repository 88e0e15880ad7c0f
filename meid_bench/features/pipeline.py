"""Pipeline: decode pool -> batches -> encoder -> ledger, for one process's share of a store."""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from meid_bench.cores import cores
from meid_bench.device import describe, make_current
from meid_bench.errors import DataError, MeidBenchError
from meid_bench.features.decode_pool import DecodePool, Outcome
from meid_bench.features.decode_worker import DecodeSettings, DecodeTask
from meid_bench.features.decoders import JPG_DECODER, decode_video
from meid_bench.features.encode_stage import EncodeStage
from meid_bench.features.encoder import Encoder
from meid_bench.features.failures import Failure
from meid_bench.features.frames import DecodedFrames
from meid_bench.features.ledger import Ledger
from meid_bench.features.shard import VideoFeatures
from meid_bench.features.shard_plan import ShardPlan
from meid_bench.progress import Progress

# Decoded videos beyond those that workers are writing: what the encoder lives on meanwhile.
SPARE_SLOTS = 2
SECONDS_PER_LOOK = 0.2


@dataclass(frozen=True)
class Share:
    """One process's part of an extraction.

    Attributes:
        folder: The store.
        videos: The folder of videos.
        paths: Id to file, or to folder of jpgs; ids without one are left out.
        plans: The shards to do.
        number: Of this share.
        shares: How many there are.
        frames: T.
        decoder: As `decode_video` takes it.
        timeout: Seconds that decoding a video may take.
        workers: Decoder processes; None for one a core.
        neighbours: Shares that are done on this machine, and share its cores.
        decode: What decodes, with the signature of `decode_video`.
    """

    folder: Path
    videos: Path
    paths: Mapping[str, Path]
    plans: tuple[ShardPlan, ...]
    number: int
    shares: int
    frames: int
    decoder: str
    timeout: float
    workers: int | None
    neighbours: int = 1
    decode: Callable[..., DecodedFrames] = decode_video


class _Interrupt:
    """Remembers that Ctrl-C was pressed; a second one ends the process as usual."""

    def __init__(self) -> None:
        self.pressed = False


@contextmanager
def _interrupt(notice: Callable[[str], None]) -> Iterator[_Interrupt]:
    state = _Interrupt()

    def handle(*_: object) -> None:
        if state.pressed:
            raise KeyboardInterrupt
        state.pressed = True
        notice("Stopping once the shards in progress are finished; Ctrl-C again stops at once.")

    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield state
    finally:
        signal.signal(signal.SIGINT, before)


def extract_share(share: Share, encoder: Encoder, say: Callable[[str], None]) -> None:
    """Extract what a share has to do; every finished shard is on the disk when this ends.

    Args:
        share: What is to do.
        encoder: What encodes.
        say: Takes a line about what was chosen.

    Raises:
        MeidBenchError: The disk is full, the videos' folder has gone, or the user stopped it.
    """
    make_current(encoder.device)
    total = sum(len(plan.pending) for plan in share.plans)
    own = max(1, cores() // share.neighbours)
    workers = min(share.workers or own, max(1, total))
    threads = own if encoder.device.type == "cpu" else 1
    say(
        f"encoder   {encoder.name}, {encoder.weights}, {encoder.precision}, batches of "
        f"{encoder.batch}, on {describe(encoder.device)}"
    )
    say(f"decoder   {share.decoder}, {workers} processes, {share.frames} frames a video")
    if not total:
        return
    label = "extract" if share.shares == 1 else f"extract {share.number + 1}/{share.shares}"
    with Progress(total, label, "videos") as progress, _interrupt(progress.write) as interrupt:
        feed = _Feed(share, interrupt)
        settings = DecodeSettings(
            share.frames, encoder.transform, share.decoder, share.timeout, share.decode
        )
        count = _Count(progress, share.frames)
        with (
            Ledger(share.folder, share.plans) as ledger,
            EncodeStage(encoder, threads, lambda item: count.enter(ledger, item)) as stage,
            DecodePool(settings, workers, workers + SPARE_SLOTS) as pool,
        ):
            _run(share, feed, pool, stage, ledger, count)
    if interrupt.pressed and feed.left:
        raise MeidBenchError(
            f"Stopped with {feed.left} of {total} videos to do; every finished shard stays, "
            "run the same command again to go on"
        )


class _Count:
    """Tells the ledger and the progress bar of every video."""

    def __init__(self, progress: Progress, frames: int) -> None:
        self._progress = progress
        self._per_video = frames
        self._frames = 0
        self._start = time.monotonic()
        self._lock = threading.Lock()

    def enter(self, ledger: Ledger, item: VideoFeatures | tuple[str, str] | Failure) -> None:
        if isinstance(item, tuple):
            item = Failure(item[0], item[1], "encoder")
        ledger.enter(item)
        with self._lock:
            self._frames += self._per_video if isinstance(item, VideoFeatures) else 0
            rate = self._frames / max(time.monotonic() - self._start, 1e-9)
            self._progress.update(1, f"{rate:.0f} frames/s")


class _Feed:
    """The videos to decode, in the order of shards."""

    def __init__(self, share: Share, interrupt: _Interrupt) -> None:
        self._interrupt = interrupt
        self._queue = deque((plan.number, name) for plan in share.plans for name in plan.pending)
        self._begun = -1

    @property
    def left(self) -> int:
        """Videos that were never begun."""
        return len(self._queue)

    def next(self) -> str | None:
        """The next video, or None where there is none, or none of a shard already begun."""
        if not self._queue:
            return None
        number = self._queue[0][0]
        if self._interrupt.pressed and number != self._begun:
            return None
        self._begun = number
        return self._queue.popleft()[1]


def _run(
    share: Share,
    feed: _Feed,
    pool: DecodePool,
    stage: EncodeStage,
    ledger: Ledger,
    count: _Count,
) -> None:
    more = True
    while more or pool.busy:
        while more and pool.hungry:
            name = feed.next()
            if name is None:
                more = False
            elif name in share.paths:
                pool.submit(DecodeTask(name, share.paths[name]))
            else:
                missing = f"folder {name}" if share.decoder == JPG_DECODER else f"file {name}.*"
                reason = f"there is no {missing} in {share.videos}"
                count.enter(ledger, Failure(name, reason, share.decoder))
        for outcome in pool.outcomes(SECONDS_PER_LOOK):
            _take(share, outcome, stage, ledger, count)
            pool.release(outcome)
        stage.check()
        ledger.check()
    stage.flush()


def _take(
    share: Share, outcome: Outcome, stage: EncodeStage, ledger: Ledger, count: _Count
) -> None:
    if isinstance(outcome.decoded, DecodedFrames):
        stage.add(outcome.task.id, outcome.decoded, outcome.pictures)
        return
    _refuse_vanished(share.videos)
    count.enter(ledger, Failure(outcome.task.id, outcome.decoded, share.decoder))


def _refuse_vanished(folder: Path) -> None:
    """A folder that has gone, as one on the network may, is no fault of its videos."""
    try:
        there = any(folder.iterdir())
    except OSError:
        there = False
    if not there:
        raise DataError(
            f"The folder of videos {folder} has gone or is empty now; every finished shard stays, "
            "bring it back and run the same command again"
        )
