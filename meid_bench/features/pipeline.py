"""Pipeline: decode pool -> batches -> encoder -> ledger, for each process's part of a store."""

import multiprocessing
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from meid_bench.cores import cores
from meid_bench.device import describe, make_current
from meid_bench.errors import DataError, MeidBenchError
from meid_bench.features.decode_pool import DecodePool, DecodeResult, DecodeSettings, DecodeTask
from meid_bench.features.decoders import JPG_DECODER, placed
from meid_bench.features.encode_stage import EncodeStage
from meid_bench.features.encoder import Encoder, load_encoder
from meid_bench.features.ledger import Ledger, ShardPlan
from meid_bench.features.listed_videos import ListedVideos
from meid_bench.features.manifest import Failure
from meid_bench.features.passes import Passes
from meid_bench.features.shard import VideoFeatures
from meid_bench.mainless import ctrl_c_ignored, mainless
from meid_bench.progress import Progress

# Slots for decoded videos beyond those that workers write to.
SPARE_SLOTS = 2
SECONDS_PER_LOOK = 0.2


@dataclass(frozen=True)
class Partition:
    """One process's part of an extraction.

    Attributes:
        folder: The store.
        videos: The benchmark's videos.
        plans: The shards to do.
        frames: T.
        timeout: Seconds that decoding a video may take.
        workers: Decoder processes; None for one a core.
        number: The partition's, from 0.
        of: How many partitions there are.
        neighbours: How many of them share this machine's cores.
    """

    folder: Path
    videos: ListedVideos
    plans: Sequence[ShardPlan]
    frames: int
    timeout: float
    workers: int | None
    number: int = 0
    of: int = 1
    neighbours: int = 1


def extract_partition(
    partition: Partition, encoder: Encoder, say: Callable[[str], None] = print
) -> None:
    """Extract a partition in this process; finished shards stay whatever ends it.

    Args:
        partition: What is to do.
        encoder: What encodes.
        say: Takes a line about what was chosen.

    Raises:
        MeidBenchError: The disk is full, the videos' folder has gone, or the user stopped it.
    """
    make_current(encoder.device)
    total = sum(len(plan.pending) for plan in partition.plans)
    own_cores = max(1, cores() // partition.neighbours)
    workers = min(partition.workers or own_cores, max(1, total))
    threads = own_cores if encoder.device.type == "cpu" else 1
    say(
        f"encoder   {encoder.name}, {encoder.weights}, {encoder.precision}, batches of "
        f"{encoder.batch}, on {describe(encoder.device)}"
    )
    decoder = partition.videos.decoder
    length = encoder.frames_per_row
    taken = "frames" if length == 1 else f"clips of {length} frames, {encoder.clip.stride} apart,"
    say(f"decoder   {decoder}, {workers} processes, {partition.frames} {taken} a video")
    if not total:
        return
    label = "extract" if partition.of == 1 else f"extract {partition.number + 1}/{partition.of}"
    where, rule = placed(decoder, encoder.device), encoder.rule(partition.frames)
    settings = DecodeSettings(rule, encoder.transform, where, partition.timeout)
    with Progress(total, label, "videos") as progress:
        extraction = _Extraction(partition, progress)
        with (
            _ctrl_c(extraction.stop_soon),
            Ledger(partition.folder, partition.plans) as extraction.ledger,
            EncodeStage(encoder, threads, extraction.passes.put) as stage,
            DecodePool(settings, workers, workers + SPARE_SLOTS) as pool,
        ):
            extraction.run(pool, stage)
    if left := len(extraction.waiting):
        raise MeidBenchError(
            f"Stopped with {left} of {total} videos to do; every finished shard stays, "
            "run the same command again to go on"
        )


class _Extraction:
    """A partition in progress: the videos that are waiting, and what became of the others."""

    ledger: Ledger

    def __init__(self, partition: Partition, progress: Progress) -> None:
        self.waiting = deque(
            (plan.number, name) for plan in partition.plans for name in plan.pending
        )
        self.passes = Passes(partition.frames, partition.videos.decoder, self.enter)
        self._partition = partition
        self._progress = progress
        self._shard = -1  # of the last video that was begun
        self._stopping = False
        self._stored = 0
        self._start = time.monotonic()
        self._lock = threading.Lock()

    def stop_soon(self) -> None:
        """Begin no other shard."""
        self._stopping = True
        self._progress.write(
            "Stopping once the shards in progress are finished; Ctrl-C again stops at once."
        )

    def enter(self, entry: VideoFeatures | Failure) -> None:
        """Tell ledger and progress bar what became of a video; any thread may call this."""
        self.ledger.enter(entry)
        with self._lock:
            self._stored += isinstance(entry, VideoFeatures)
            rate = self._stored * self._partition.frames / (time.monotonic() - self._start)
            self._progress.update(1, f"{rate:.0f} frames/s")

    def run(self, pool: DecodePool, stage: EncodeStage) -> None:
        """Decode and encode every video; the ledger writes what is complete."""
        while self._has_next() or pool.busy:
            while self._has_next() and pool.hungry:
                self._begin_next(pool)
            for result in pool.results(SECONDS_PER_LOOK):
                following = self._take(result, stage)
                pool.release(result)
                if following is not None:
                    pool.submit(following)
            stage.check()
            self.ledger.check()
        stage.flush()

    def _take(self, result: DecodeResult, stage: EncodeStage) -> DecodeTask | None:
        """Encode what was decoded; the video's next pass, if it needs one."""
        if isinstance(result.decoded, str):
            _refuse_vanished(self._partition.videos.folder)
            self.passes.fail(result.task, result.decoded)
            return None
        wanted, following = self.passes.take(result.task, result.decoded)
        if wanted:
            stage.add(result.task, result.decoded, result.pictures)
        return following

    def _has_next(self) -> bool:
        return bool(self.waiting) and not (self._stopping and self.waiting[0][0] != self._shard)

    def _begin_next(self, pool: DecodePool) -> None:
        self._shard, name = self.waiting.popleft()
        videos = self._partition.videos
        if name in videos.paths:
            pool.submit(DecodeTask(name, videos.paths[name]))
        else:
            missing = f"folder {name}" if videos.decoder == JPG_DECODER else f"file {name}.*"
            reason = f"there is no {missing} in {videos.folder}"
            self.enter(Failure(name, reason, videos.decoder))


def _refuse_vanished(folder: Path) -> None:
    """End the run where the folder has gone, as an unmounted one has: its videos did not fail."""
    with suppress(OSError):
        if any(folder.iterdir()):
            return
    raise DataError(
        f"The folder of videos {folder} has gone or is empty now; every finished shard stays, "
        "bring it back and run the same command again"
    )


@contextmanager
def _ctrl_c(first: Callable[[], None]) -> Iterator[None]:
    """Call `first` at Ctrl-C; a second one ends the process as usual."""

    def handle(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        first()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def extract_on_devices(
    partitions: Sequence[Partition], devices: Sequence[torch.device], encoder: Mapping[str, Any]
) -> None:
    """Extract each partition in a process of its own.

    Args:
        partitions: One a device.
        devices: Where each encodes.
        encoder: Arguments of `load_encoder` besides the device.

    Raises:
        MeidBenchError: A process ended early; the others were left to finish theirs.
    """
    context = multiprocessing.get_context("spawn")
    processes = [
        # Not daemons: those may not start decoder processes.
        context.Process(target=_extract_on, args=(partition, str(device), dict(encoder)))
        for partition, device in zip(partitions, devices, strict=True)
    ]
    # Ctrl-C reaches the children too: they finish their shards, and this process waits.
    with ctrl_c_ignored():
        with mainless():
            for process in processes:
                process.start()
        for process in processes:
            process.join()
    dead = [str(device) for device, p in zip(devices, processes, strict=True) if p.exitcode]
    if dead:
        raise MeidBenchError(
            f"The process on {', '.join(dead)} ended early; every finished shard stays, "
            "run the same command again to go on"
        )


def _extract_on(partition: Partition, device: str, encoder: dict[str, Any]) -> None:
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        extract_partition(partition, load_encoder(device=device, **encoder))
    except MeidBenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(1)  # the main process says that this one ended early
