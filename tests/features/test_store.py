"""The feature store: what is written is what is read, lazily, in any process."""

import errno
import io
import multiprocessing
import os
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.errors import DataError, SettingError
from meid_bench.features.failures import Failure, load_failures, update_failures
from meid_bench.features.manifest import FILE, Recipe, feature_manifest, store_name
from meid_bench.features.shard import VideoFeatures, read_shard, shard_path, write_shard
from meid_bench.features.spool import Spool
from meid_bench.features.store import FeatureStore, find_store
from meid_bench.features.write_store import shards, write_store
from meid_bench.files import features_dir
from tests.toy import FRAMES, WIDTH, toy_benchmark

RECIPE = Recipe("toy", "0" * 64, "none", FRAMES, WIDTH, "none", "0", "float32", "none")


def video(name: str, seed: int = 0) -> VideoFeatures:
    numbers = np.random.default_rng([seed, *name.encode()])
    index = np.sort(numbers.integers(0, 99, FRAMES)).astype(np.int32)
    features = numbers.standard_normal((FRAMES, WIDTH)).astype(np.float16)
    return VideoFeatures(name, features, index, index.astype(np.float32) / 25, 99, seed)


def make_store(root: Path, without: tuple[str, ...] = (), weights: str = "a") -> Path:
    benchmark = toy_benchmark()
    manifest = feature_manifest(benchmark, RECIPE, weights=weights)
    folder = features_dir(root, "toy") / store_name(manifest)
    videos = (video(name) for name in benchmark.all_ids() if name not in without)
    failed = [Failure(name, "broken", "none") for name in without]
    write_store(folder, manifest, benchmark.all_ids(), videos, failed)
    return folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    ids = toy_benchmark().all_ids()
    store = FeatureStore(make_store(tmp_path, without=(ids[3], ids[70])))
    assert store.ids == tuple(name for name in ids if name not in (ids[3], ids[70]))
    assert (store.frames, store.width) == (FRAMES, WIDTH)
    assert store.fingerprint == RECIPE.fingerprint
    wanted = [store.ids[number] for number in (80, 0, 63, 0, 64)]
    expected = np.stack([video(name).features for name in wanted])
    assert np.array_equal(store.read(wanted), expected)
    out = np.zeros_like(expected)
    assert store.read(wanted, out) is out
    assert np.array_equal(out, expected)
    for name in wanted:
        assert np.array_equal(store.times(name), video(name).frame_time)
        assert np.array_equal(store.frame_index(name), video(name).frame_index)
        assert store.num_frames(name) == 99
    assert sorted(store.failures) == [ids[3], ids[70]]


def test_the_format_is_the_documented_one(tmp_path: Path) -> None:
    folder = make_store(tmp_path)
    ids = toy_benchmark().all_ids()
    assert sorted(path.name for path in folder.glob("*.h5")) == ["part-00000.h5", "part-00001.h5"]
    with h5py.File(folder / "part-00001.h5") as file:
        assert file["video_id"].asstr()[()].tolist() == list(ids[64:])
        shapes = {name: (file[name].shape, file[name].dtype.str) for name in file}
        n = len(ids) - 64
        assert shapes == {
            "features": ((n, FRAMES, WIDTH), "<f2"),
            "frame_index": ((n, FRAMES), "<i4"),
            "frame_time": ((n, FRAMES), "<f4"),
            "num_damaged": ((n,), "<i4"),
            "num_frames": ((n,), "<i4"),
            "video_id": ((n,), "|O"),
        }
        assert file["features"].chunks == (1, FRAMES, WIDTH)
        assert file["features"].compression is None


def test_shards_are_the_sorted_ids_by_64() -> None:
    ids = [f"v{number:03d}" for number in range(130)]
    parts = shards(ids[::-1])
    assert [len(part) for part in parts.values()] == [64, 64, 2]
    assert [name for part in parts.values() for name in part] == ids


def test_the_same_features_are_the_same_bytes(tmp_path: Path) -> None:
    videos = [video("a"), video("b")]
    for name in ("one", "two"):
        write_shard(tmp_path / name, len(videos), videos)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk, what still fits is written; the next byte is an error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_shard_that_was_there(tmp_path: Path) -> None:
    path, videos = tmp_path / "part-00000.h5", [video(name) for name in "abcdefgh"]
    write_shard(path, 8, videos)
    before = path.read_bytes()
    for size in range(0, len(before), len(before) // 40):
        error = None
        with files_of_at_most(size):
            try:
                write_shard(path, 8, videos)
            except DataError as raised:
                error = raised
        assert "there is no space left" in str(error), size
        assert path.read_bytes() == before
        assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("works", range(0, 30, 3))
def test_a_vanished_disk_is_one_sentence(
    works: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount that has gone fails at writing and at reading alike."""
    left = works

    class Vanishing(io.FileIO):
        def write(self, data: Any) -> int:
            self.touch()
            return super().write(data)

        def readinto(self, buffer: Any) -> int:
            self.touch()
            return super().readinto(buffer) or 0

        def touch(self) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    kept = Path.open

    def opened(path: Path, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        return Vanishing(path, "w+") if mode == "w+b" else kept(path, mode, *arguments, **more)

    monkeypatch.setattr(Path, "open", opened)
    videos = [video(f"v{number:02d}") for number in range(40)]
    with pytest.raises(DataError, match=os.strerror(errno.ESTALE)):
        write_shard(tmp_path / "part-00000.h5", 40, videos)
    assert not list(tmp_path.iterdir())


def test_a_spool_gives_back_what_it_took_in_the_order_of_ids(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for name in "cab":
        spool.put(video(name))
    assert len(spool) == 3
    assert not list(tmp_path.iterdir())
    write_shard(tmp_path / "spooled", len(spool), spool)
    write_shard(tmp_path / "direct", 3, [video(name) for name in "abc"])
    assert (tmp_path / "spooled").read_bytes() == (tmp_path / "direct").read_bytes()


def read_elsewhere(store: FeatureStore, name: str, answer: Any) -> None:
    answer.put((os.getpid(), store.read([name]).tobytes()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_survives_fork_and_pickle(tmp_path: Path, method: str) -> None:
    store = FeatureStore(make_store(tmp_path))
    name = store.ids[5]
    expected = store.read([name]).tobytes()  # The parent's handle is open.
    context = multiprocessing.get_context(method)
    answer = context.SimpleQueue()
    child = context.Process(target=read_elsewhere, args=(store, name, answer))
    child.start()
    process, features = answer.get()
    child.join()
    assert process != os.getpid()
    assert features == expected == store.read([name]).tobytes()
    assert pickle.loads(pickle.dumps(store)).read([name]).tobytes() == expected


def test_open_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meid_bench.features.store.OPEN_SHARDS", 1)
    store = FeatureStore(make_store(tmp_path))
    names = [store.ids[0], store.ids[-1]] * 3
    assert np.array_equal(store.read(names), np.stack([video(name).features for name in names]))
    assert len(store._open) == 1


def test_missing_features_say_why(tmp_path: Path) -> None:
    ids = toy_benchmark().all_ids()
    store = FeatureStore(make_store(tmp_path, without=(ids[0],)))
    with pytest.raises(DataError, match=r"could not be read \(broken\)"):
        store.read([ids[0]])
    with pytest.raises(DataError, match="has not been extracted"):
        store.read(["nobody"])
    with pytest.raises(ValueError, match="out is"):
        store.read([ids[1]], np.zeros((1, 2, 3), np.float16))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.full((FRAMES, WIDTH), np.inf, np.float16)}, "NaN or infinity"),
        ({"features": np.zeros((FRAMES, WIDTH), np.float32)}, r"expected \(T, D\) float16"),
        ({"frame_index": np.zeros(3, np.int32)}, "frame indices"),
    ],
)
def test_impossible_features_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        VideoFeatures(**({**video("a").__dict__, **changes}))


def test_features_come_in_order_and_in_shape(tmp_path: Path) -> None:
    manifest = feature_manifest(toy_benchmark(), RECIPE, weights="a")
    ids = toy_benchmark().all_ids()
    with pytest.raises(DataError, match="order of ids"):
        write_store(tmp_path, manifest, ids, [video(ids[1]), video(ids[0])])
    with pytest.raises(DataError, match="not listed"):
        write_store(tmp_path, manifest, ids, [video("stranger")])
    wide = feature_manifest(toy_benchmark(), Recipe(**{**RECIPE.__dict__, "width": 9}), weights="a")
    with pytest.raises(DataError, match=r"expected \(.*, 9\)"):
        write_store(tmp_path, wide, ids, [video(ids[0])])


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = make_store(tmp_path)
    part = shard_path(folder, 1)
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"part-00001\.h5 is no readable shard.*verify --repair"):
        FeatureStore(folder)
    with pytest.raises(DataError, match="no readable shard"):
        list(read_shard(part))
    with pytest.raises(DataError, match=r"no readable shard \(Is a directory\); `meid-bench"):
        list(read_shard(folder))
    part.write_bytes(whole)
    (folder / "part-00007.h5").write_bytes(whole)
    with pytest.raises(DataError, match="twice"):
        FeatureStore(folder)
    (folder / "part-00007.h5").unlink()
    text = (folder / FILE).read_text()
    (folder / FILE).write_text(text.replace('"toy"', '"other"', 1).replace("float32", "bfloat16"))
    with pytest.raises(DataError, match="does not give its fingerprint"):
        FeatureStore(folder)
    (folder / FILE).write_text(text[:40])
    with pytest.raises(DataError, match="is damaged"):
        FeatureStore(folder)
    (folder / FILE).unlink()
    with pytest.raises(DataError, match="is no feature store"):
        FeatureStore(folder)


def test_failures_are_those_of_the_last_try(tmp_path: Path) -> None:
    update_failures(tmp_path, ["a", "b", "c"], [Failure("c", "x", "d"), Failure("a", "ü\nz", "d")])
    update_failures(tmp_path, ["c"], [])
    assert load_failures(tmp_path) == {"a": Failure("a", "ü\nz", "d")}
    (tmp_path / "failures.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(DataError, match="line 1"):
        load_failures(tmp_path)


def test_the_only_fitting_store_needs_no_name(tmp_path: Path) -> None:
    benchmark = toy_benchmark()
    with pytest.raises(DataError, match="There are no features of toy"):
        find_store(tmp_path, benchmark)
    first = make_store(tmp_path)
    assert find_store(tmp_path, benchmark) == first
    second = make_store(tmp_path, weights="b")
    with pytest.raises(
        SettingError, match=f"choose one with --features: {first.name}, {second.name}"
    ):
        find_store(tmp_path, benchmark)
    assert find_store(tmp_path, benchmark, second.name) == second
    assert find_store(tmp_path, benchmark, "toy-b") == second
    with pytest.raises(SettingError, match="There is no feature store of toy 'resnet'"):
        find_store(tmp_path, benchmark, "resnet")
    other = Benchmark(**{**_fields(benchmark), "splits": {**benchmark.splits, "val": ()}})
    with pytest.raises(DataError, match="another version of toy"):
        find_store(tmp_path, other)


def _fields(benchmark: Benchmark) -> dict[str, Any]:
    return {name: getattr(benchmark, name) for name in Benchmark.__dataclass_fields__}


@pytest.mark.parametrize("field", list(Recipe.__dataclass_fields__))
def test_everything_in_a_recipe_changes_its_fingerprint(field: str) -> None:
    value = getattr(RECIPE, field)
    changed = Recipe(**{**RECIPE.__dict__, field: value + 1 if isinstance(value, int) else "x"})
    assert changed.fingerprint != RECIPE.fingerprint
