"""A decoder that crashes, spins or is killed costs its own video alone, after a second try."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meid_bench.errors import MeidBenchError
from meid_bench.features.decode_pool import DecodePool, DecodeResult, DecodeSettings, DecodeTask
from meid_bench.features.frames import DecodedFrames, FrameRule
from meid_bench.features.transform import Transform

ROOT = Path(__file__).parents[2]
RULE = FrameRule(2)
TRANSFORM = Transform(resize=8, crop=8)
SECONDS = 60.0


def odd_decoder(
    path: Path, rule: FrameRule, keep: Any, *, decoder: str, sequential: bool
) -> DecodedFrames:
    """Does what the file's name says."""
    name = path.name
    if "crash" in name and not (sequential and "once" in name):
        os.kill(os.getpid(), signal.SIGSEGV)
    if "exit" in name:
        os._exit(0)
    while "spin" in name and not (sequential and "once" in name):
        pass
    if "raise" in name:
        raise RuntimeError("as asked")
    if "slow" in name:
        time.sleep(0.3)
    shade = int(name.rpartition("-")[2])
    clips = rule.clips(rule.frames)
    for number in range(len(clips)):
        keep(number, np.full((8, 8, 3), shade + number, np.uint8))
    return DecodedFrames(clips, clips[:, 0] * 1.0, rule.frames, int(sequential))


def results(pool: DecodePool, names: list[str]) -> dict[str, DecodeResult]:
    waiting, done = list(names), {}
    until = time.monotonic() + SECONDS
    while waiting or pool.busy:
        assert time.monotonic() < until
        while waiting and pool.hungry:
            name = waiting.pop(0)
            pool.submit(DecodeTask(name, Path(name)))
        for result in pool.results(0.1):
            if isinstance(result.decoded, DecodedFrames):
                shade = int(result.task.id.rpartition("-")[2])
                assert result.pictures[:, 0, 0, 0].tolist() == [shade, shade + 1]
            assert result.task.id not in done
            done[result.task.id] = result
            pool.release(result)
    return done


def make_pool(timeout: float = SECONDS, workers: int = 2) -> DecodePool:
    return DecodePool(
        DecodeSettings(RULE, TRANSFORM, timeout=timeout, decode=odd_decoder), workers, 3
    )


class Unpickled:
    """A decoder that fails with what Ctrl-C would do while its worker starts."""

    def __setstate__(self, _: object) -> None:
        self.handler = signal.getsignal(signal.SIGINT)

    def __getstate__(self) -> str:
        return "nothing"

    def __call__(self, *_: Any, **__: Any) -> DecodedFrames:
        raise MeidBenchError(str(self.handler))


FRESH = """
from tests.features.test_decode_pool import *
handler = signal.getsignal(signal.SIGINT)
with DecodePool(DecodeSettings(RULE, TRANSFORM, decode=Unpickled()), 1, 3) as pool:
    print(results(pool, ["a-1"])["a-1"].decoded)
assert signal.getsignal(signal.SIGINT) is handler
"""


def test_a_worker_that_starts_ignores_ctrl_c() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FRESH], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == str(signal.SIG_IGN)


def test_every_video_gets_its_own_pictures() -> None:
    names = [f"video-{number}" for number in range(40)]
    with make_pool() as pool:
        done = results(pool, names)
    assert sorted(done) == sorted(names)
    assert not any(result.task.sequential for result in done.values())


def test_a_crash_costs_one_video() -> None:
    names = ["a-1", "crash-2", "b-3", "crash-once-4", "raise-5", "exit-6", "c-7"]
    with make_pool() as pool:
        done = results(pool, names)
    assert done["crash-2"].decoded == done["exit-6"].decoded == "its decoder crashed, twice"
    assert done["raise-5"].decoded == "RuntimeError: as asked"
    assert done["crash-once-4"].task.sequential
    for name in ("a-1", "b-3", "c-7", "crash-once-4"):
        assert isinstance(done[name].decoded, DecodedFrames)


def test_a_video_that_takes_too_long_is_given_up() -> None:
    with make_pool(timeout=1.0) as pool:
        done = results(pool, ["spin-1", "a-2", "spin-once-3", "slow-4"])
    assert done["spin-1"].decoded == "decoding took longer than 1 seconds, twice"
    assert done["spin-once-3"].task.sequential
    assert isinstance(done["slow-4"].decoded, DecodedFrames)
    assert isinstance(done["a-2"].decoded, DecodedFrames)


def test_killed_workers_are_replaced() -> None:
    waiting, done = [f"slow-{number}" for number in range(8)], {}
    kills = 0
    with make_pool() as pool:
        while waiting or pool.busy:
            while waiting and pool.hungry:
                name = waiting.pop(0)
                pool.submit(DecodeTask(name, Path(name)))
            # Never twice at the same video: that would cost it.
            first = [w for w in pool._workers if w.task is not None and not w.task.sequential]
            if kills < 4 and len(done) >= kills and first:
                os.kill(first[0].process.pid, signal.SIGKILL)
                kills += 1
            for result in pool.results(0.1):
                done[result.task.id] = result.decoded
                pool.release(result)
        processes = pool.processes
    assert kills >= 3
    assert len(done) == 8
    assert all(isinstance(decoded, DecodedFrames) for decoded in done.values())
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_an_answer_that_waited_is_not_late() -> None:
    with make_pool(timeout=1.0, workers=2) as pool:
        while not pool.hungry:
            list(pool.results(0.1))
        pool.submit(DecodeTask("a-1", Path("a-1")))
        pool.submit(DecodeTask("b-2", Path("b-2")))
        done: list[Any] = []
        while pool.busy:
            for result in pool.results(0.1):
                done.append(result.decoded)
                pool.release(result)
                time.sleep(1.2)  # The encoder was busy for longer than a video may take.
    assert all(isinstance(decoded, DecodedFrames) for decoded in done)
