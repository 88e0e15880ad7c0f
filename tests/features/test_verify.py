"""`verify` names what is wrong with a store; `--repair` puts it back on the list."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.cli.main import cli
from meid_bench.features.account import take_account
from meid_bench.features.checksum import sealed
from meid_bench.features.verify import repair_store, verify_store
from tests.extraction import NAME, contents, run_small, small_benchmark, small_videos

pytestmark = pytest.mark.usefixtures("small_shards")
VIDEOS = 7


@pytest.fixture
def store(tmp_path: Path) -> tuple[Benchmark, Path]:
    ids = small_videos(tmp_path, VIDEOS)
    benchmark = small_benchmark(tmp_path, ids)
    return benchmark, run_small(benchmark, tmp_path).folder


@contextmanager
def written_by_others(path: Path) -> Iterator[h5py.File]:
    """Another program's shard: its checksum is right, what it holds is not."""
    with h5py.File(path, "r+") as file:
        yield file
    path.write_bytes(sealed(path.read_bytes()))


def change(path: Path, dataset: str, row: Any, value: Any) -> None:
    with written_by_others(path) as file:
        file[dataset][row] = value


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def text(path: Path) -> None:
    path.write_text("no shard")


def drop(path: Path) -> None:
    with written_by_others(path) as file:
        del file["num_frames"]


def narrow(path: Path) -> None:
    with written_by_others(path) as file:
        features = file["features"][:, :, :5]
        del file["features"]
        file["features"] = features


def chunk(path: Path) -> None:
    with written_by_others(path) as file:
        features = file["features"][()]
        del file["features"]
        file.create_dataset("features", data=features, chunks=(1, *features.shape[1:]))


def folder_instead(path: Path) -> None:
    path.unlink()
    (path / "below").mkdir(parents=True)


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HARM = {
    "a folder": (folder_instead, "it is no file", 3),
    "a dangling link": (dangle, "No such file or directory", 3),
    "a FIFO": (fifo, "it is no file", 3),
    "cut": (cut, "does not end with its checksum", 3),
    "text": (text, "does not end with its checksum", 3),
    "flipped": (flip, "its checksum is wrong", 3),
    "a column gone": (drop, "cannot be read", 3),
    "narrow": (narrow, "features are (3, 4, 5)", 3),
    "chunked": (chunk, "do not lie in one piece", 3),
    "NaN": (lambda path: change(path, "features", (1, 2, 3), np.nan), "not finite", 1),
    "indices": (lambda path: change(path, "frame_index", 2, [0, 0, 0, 99]), "frame indices", 1),
    "stranger": (lambda path: change(path, "video_id", 0, "a stranger"), "does not belong", 1),
    "out of order": (lambda path: change(path, "video_id", 0, "z"), "out of order", 3),
    "twice": (lambda path: change(path, "video_id", 1, "v03"), "more than once", 2),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_is_wrong_is_named_taken_out_and_made_again(
    harm: str, store: tuple[Benchmark, Path], tmp_path: Path
) -> None:
    benchmark, folder = store
    sound = contents(folder)
    assert verify_store(benchmark, folder) == []
    act, problem, lost = HARM[harm]
    act(folder / "part-00001.h5")
    faults = verify_store(benchmark, folder)
    assert problem in str(faults[0])
    assert str(faults[0]).startswith("part-00001.h5")
    repair_store(folder, faults)
    assert verify_store(benchmark, folder) == []
    assert len(take_account(benchmark, folder).untried) == lost
    assert run_small(benchmark, tmp_path).stored == VIDEOS
    assert contents(folder) == sound


def test_the_command(store: tuple[Benchmark, Path], tmp_path: Path) -> None:
    _, folder = store
    arguments = ["verify", "--dataset", NAME, "--root", str(tmp_path)]
    runner = CliRunner()
    fine = runner.invoke(cli, arguments)
    assert fine.exit_code == 0, fine.output
    assert f"stored    {VIDEOS} of {VIDEOS} videos" in fine.output
    cut(folder / "part-00000.h5")
    (folder / "part-00009.h5").write_bytes((folder / "part-00001.h5").read_bytes())
    broken = runner.invoke(cli, arguments)
    assert broken.exit_code == 1
    assert "part-00000.h5: it does not end with its checksum" in broken.output
    assert "part-00009.h5: the benchmark has no such shard" in broken.output
    assert "2 faults; `meid-bench verify --repair`" in broken.output
    repaired = runner.invoke(cli, [*arguments, "--repair"])
    assert repaired.exit_code == 1
    assert "repaired  2" in repaired.output
    assert "3 listed videos have no features; run `meid-bench extract`" in repaired.output
