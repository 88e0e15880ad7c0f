"""The feature store: what is written is what is read, lazily, in any process."""

import errno
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
from meid_bench.features.manifest import (
    MANIFEST,
    Failure,
    Recipe,
    load_failures,
    make_manifest,
    update_failures,
)
from meid_bench.features.shard import (
    VideoFeatures,
    read_shard,
    shard_path,
    shards,
    write_shard,
)
from meid_bench.features.store import FeatureStore, find_store, write_store
from meid_bench.files import features_dir
from tests.toy import FRAMES, WIDTH, toy_benchmark

RECIPE = Recipe("toy", "0" * 64, "none", FRAMES, WIDTH, "none")


def video(name: str, seed: int = 0) -> VideoFeatures:
    numbers = np.random.default_rng([seed, *name.encode()])
    index = np.sort(numbers.integers(0, 99, FRAMES)).astype(np.int32)
    features = numbers.standard_normal((FRAMES, WIDTH)).astype(np.float16)
    return VideoFeatures(name, features, index, index.astype(np.float32) / 25, 99, seed)


def make_store(root: Path, without: tuple[str, ...] = (), weights: str = "a") -> Path:
    benchmark = toy_benchmark()
    manifest = make_manifest(benchmark, RECIPE, weights=weights)
    folder = features_dir(root, "toy") / manifest.store_name
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
        assert file["features"].chunks is None
        assert file["features"].compression is None


def test_shards_are_the_sorted_ids_by_64() -> None:
    ids = [f"v{number:03d}" for number in range(130)]
    parts = shards(ids[::-1])
    assert [len(part) for part in parts.values()] == [64, 64, 2]
    assert [name for part in parts.values() for name in part] == ids


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
    write_shard(path, videos)
    before = path.read_bytes()
    for size in range(0, len(before), len(before) // 40):
        error = None
        with files_of_at_most(size):
            try:
                write_shard(path, videos)
            except DataError as raised:
                error = raised
        assert "there is no space left" in str(error), size
        assert path.read_bytes() == before
        assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("step", ["Path.write_bytes", "os.fsync", "Path.replace"])
def test_a_vanished_disk_is_one_sentence(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount that has gone fails at writing, at syncing and at renaming alike."""

    def vanished(*_: Any) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patch:
        patch.setattr(f"pathlib.{step}" if "Path" in step else step, vanished)
        with pytest.raises(DataError, match=os.strerror(errno.ESTALE)):
            write_shard(tmp_path / "part-00000.h5", [video("a")])
    assert not list(tmp_path.iterdir())


def read_elsewhere(store: FeatureStore, name: str, answer: Any) -> None:
    answer.put((os.getpid(), store.read([name]).tobytes()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_survives_fork_and_pickle(tmp_path: Path, method: str) -> None:
    store = FeatureStore(make_store(tmp_path))
    name = store.ids[5]
    expected = store.read([name]).tobytes()
    context = multiprocessing.get_context(method)
    answer = context.SimpleQueue()
    child = context.Process(target=read_elsewhere, args=(store, name, answer))
    child.start()
    process, features = answer.get()
    child.join()
    assert process != os.getpid()
    assert features == expected == store.read([name]).tobytes()
    assert pickle.loads(pickle.dumps(store)).read([name]).tobytes() == expected


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_file_stays_open(tmp_path: Path) -> None:
    store = FeatureStore(make_store(tmp_path))
    before = open_files()
    store.read(store.ids)
    assert open_files() == before


def test_a_shard_that_changes_while_it_is_in_use_is_never_misread(tmp_path: Path) -> None:
    """Another extraction that adds a video moves the others."""
    ids = toy_benchmark().all_ids()
    store = FeatureStore(make_store(tmp_path, without=(ids[0],)))
    make_store(tmp_path)
    with pytest.raises(DataError, match="has changed while it was in use; start again"):
        store.read([ids[1]])
    shard_path(store.folder, 0).unlink()
    with pytest.raises(DataError, match="No such file"):
        store.read([ids[1]])


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
    manifest = make_manifest(toy_benchmark(), RECIPE, weights="a")
    ids = toy_benchmark().all_ids()
    with pytest.raises(DataError, match="order of ids"):
        write_store(tmp_path, manifest, ids, [video(ids[1]), video(ids[0])])
    with pytest.raises(DataError, match="not listed"):
        write_store(tmp_path, manifest, ids, [video("stranger")])
    wide = make_manifest(toy_benchmark(), Recipe(**{**RECIPE.__dict__, "width": 9}), weights="a")
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
    with pytest.raises(DataError, match=r"no readable shard \(it is no file\); `meid-bench"):
        list(read_shard(folder))
    part.write_bytes(whole)
    (folder / "part-00007.h5").write_bytes(whole)
    with pytest.raises(DataError, match="twice"):
        FeatureStore(folder)
    (folder / "part-00007.h5").unlink()
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"transform": "none"', '"transform": "other"'))
    with pytest.raises(DataError, match="does not give its fingerprint"):
        FeatureStore(folder)
    (folder / MANIFEST).write_text(text[:40])
    with pytest.raises(DataError, match="is damaged"):
        FeatureStore(folder)
    (folder / MANIFEST).unlink()
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


def test_provenance_changes_no_feature_id() -> None:
    plain = make_manifest(toy_benchmark(), RECIPE, weights="a")
    told = make_manifest(toy_benchmark(), RECIPE, weights="a", provenance={"decoder": "pyav"})
    assert plain.fingerprint == told.fingerprint == RECIPE.fingerprint
    assert plain.store_name == told.store_name


def test_a_store_of_the_old_format_is_one_sentence(tmp_path: Path) -> None:
    folder = make_store(tmp_path)
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"schema": 2', '"schema": 1'))
    with pytest.raises(DataError, match=r"has schema 1, this version reads 2; move .* away"):
        FeatureStore(folder)
