"""kill -9 at any moment, a full disk, Ctrl-C: finished shards stay, and a second run ends alike.

`MEID_BENCH_KILLS=N` repeats every phase with N times as many kills.
"""

import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from meid_bench.benchmark.benchmark import Benchmark, load_benchmark
from meid_bench.features.shard import PATTERN
from tests import killing
from tests.extraction import NAME, contents, run_small, small_benchmark, small_videos

pytestmark = pytest.mark.usefixtures("small_shards")
VIDEOS = 11
INPUTS = ("videos", "benchmarks", "tiny.pth")
TIMES = int(os.environ.get("MEID_BENCH_KILLS", "1"))
# Kills per phase, each at another moment of it: those of a phase strike one store in a row.
MOMENTS = {
    "decoding": (1, 6, 7),
    "encoding": (1, 5, 5),
    "writing": (1, 2, 3),
    "before the rename": (1, 2, 1),
    "after the rename": (1, 1, 1),
    "before the manifest": (1, 1),
    "after the manifest": (1,),
    "before the failures": (2,),
    "after the failures": (1,),
}


@dataclass(frozen=True)
class Undisturbed:
    """Videos, and what an undisturbed run makes of them."""

    root: Path
    contents: dict[str, Any]
    failed: list[str]


@pytest.fixture(scope="module")
def quick_starts() -> None:
    """A fork server that has imported all that a run needs: each one starts in a moment."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.killing", "meid_bench.features.decode_pool"])
    process = context.Process(target=int)
    process.start()
    process.join()


@pytest.fixture(scope="module")
def undisturbed(quick_starts: None, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    root = tmp_path_factory.mktemp("undisturbed")
    ids = small_videos(root, VIDEOS)
    (root / "videos" / f"{ids[4]}.mp4").write_text("broken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meid_bench.features.shard.VIDEOS_PER_SHARD", 3)
        account = run_small(small_benchmark(root, ids), root)
    return Undisturbed(root, contents(account.folder), list(account.failed))


@pytest.fixture
def scene(tmp_path: Path, undisturbed: Undisturbed) -> Benchmark:
    """The same videos under a data root of the test's own."""
    return link_inputs(tmp_path, undisturbed)


def link_inputs(root: Path, undisturbed: Undisturbed) -> Benchmark:
    root.mkdir(exist_ok=True)
    for name in INPUTS:
        (root / name).symlink_to(undisturbed.root / name)
    return load_benchmark(NAME, root)


def start(root: Path, hinder: str = "", number: int = 0) -> Any:
    context = multiprocessing.get_context("forkserver")
    arguments = (root, hinder, number, str(root / "says.txt"), killing.server())
    process = context.Process(target=killing.run, args=arguments)
    process.start()
    return process


def finished(root: Path) -> Path:
    return next((root / "features" / NAME).iterdir(), root)


def standing(root: Path, undisturbed: Undisturbed) -> int:
    """How many shards stand; all of them must hold what an undisturbed run makes."""
    folder = root / "features" / NAME
    stores = list(folder.iterdir()) if folder.is_dir() else []
    for store in stores:
        assert contents(store).items() <= undisturbed.contents.items()
    return sum(len(list(store.glob(PATTERN))) for store in stores)


def end(root: Path, benchmark: Benchmark, undisturbed: Undisturbed) -> None:
    """Run once more, undisturbed: everything must be as if nothing had happened."""
    account = run_small(benchmark, root)
    assert contents(account.folder) == undisturbed.contents
    assert list(account.failed) == undisturbed.failed
    assert not account.untried
    left = {path.name for path in account.folder.iterdir()}
    assert not [name for name in left if name.endswith(".tmp")]


@pytest.mark.parametrize("phase", killing.PHASES)
def test_killed(phase: str, tmp_path: Path, scene: Benchmark, undisturbed: Undisturbed) -> None:
    stood = []
    for moment in MOMENTS[phase] * TIMES:
        process = start(tmp_path, phase, moment)
        process.join()
        stood.append(standing(tmp_path, undisturbed))
        # Repeated kills may find that there is nothing left to be killed in.
        assert process.exitcode == -signal.SIGKILL or TIMES > 1
    assert stood == sorted(stood)
    print(f"killed {phase}: shards that stood {stood}")
    end(tmp_path, scene, undisturbed)


def test_killed_at_any_moment(tmp_path: Path, scene: Benchmark, undisturbed: Undisturbed) -> None:
    begun = time.monotonic()
    start(tmp_path).join()
    whole = time.monotonic() - begun
    moments = random.Random(0)
    stood = []
    for number in range(3 * TIMES):
        root = tmp_path / str(number)
        benchmark = link_inputs(root, undisturbed)
        found = []
        for _ in range(2):
            process = start(root)
            process.join(moments.uniform(0.2, 0.95) * whole)
            process.kill()
            process.join()
            found.append(standing(root, undisturbed))
        assert found == sorted(found)
        stood += found
        end(root, benchmark, undisturbed)
    print(f"killed at any moment: shards that stood {stood}")


def test_killed_decoders_change_nothing(
    tmp_path: Path, scene: Benchmark, undisturbed: Undisturbed
) -> None:
    for number in (1, 4, 7):
        root = tmp_path / str(number)
        link_inputs(root, undisturbed)
        process = start(root, "worker", number)
        process.join()
        assert process.exitcode == 0
        assert contents(finished(root)) == undisturbed.contents


def test_full_disk(tmp_path: Path, scene: Benchmark, undisturbed: Undisturbed) -> None:
    # A manifest fits, a shard does not.
    process = start(tmp_path, "disk", 8_000)
    process.join()
    assert process.exitcode == 1
    assert "there is no space left" in (tmp_path / "says.txt").read_text()
    assert standing(tmp_path, undisturbed) == 0
    assert not list(finished(tmp_path).glob("*.tmp"))
    end(tmp_path, scene, undisturbed)


def test_interrupted(tmp_path: Path, scene: Benchmark, undisturbed: Undisturbed) -> None:
    process = start(tmp_path, "interrupt", 1)
    process.join()
    assert process.exitcode == 1
    assert "run the same command again to go on" in (tmp_path / "says.txt").read_text()
    assert 1 <= standing(tmp_path, undisturbed) < 4
    end(tmp_path, scene, undisturbed)


def test_workers_do_not_outlive_a_killed_run(tmp_path: Path, scene: Benchmark) -> None:
    process = start(tmp_path, "decoding", 2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    process.join()
    assert not children.exists()
    for _ in range(100):
        if not _decoders(tmp_path):
            return
        time.sleep(0.1)
    pytest.fail(f"decoders are still there: {_decoders(tmp_path)}")


def _decoders(root: Path) -> list[str]:
    """Processes that have a file under `root` open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()).startswith(str(root)):
                found.append(str(link))
        except OSError:
            continue
    return found
