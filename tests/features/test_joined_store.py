"""Several stores that read as one: their columns side by side, nothing copied, nothing mixed up."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meid_bench.benchmark.benchmark import Benchmark, load_benchmark
from meid_bench.errors import DataError, MeidBenchError, SettingError
from meid_bench.features.joined_manifest import (
    JoinedManifest,
    load_joined_manifest,
    save_joined_manifest,
)
from meid_bench.features.joined_store import JoinedStore, open_features
from meid_bench.features.manifest import load_manifest, save_manifest
from meid_bench.features.npy_store import open_store, register_npy
from meid_bench.features.shard import shard_layout
from meid_bench.features.store import FeatureStore
from tests.toy import FRAMES, WIDTH, write_more, write_toy

EXTRACTED = {"provenance": {"decoder": "pyav", "batch": 8}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy with features "toy", "other" and, as .npy files read in place, "clip"."""
    root = tmp_path_factory.mktemp("joined")
    write_toy(root, without=("train001",))
    write_more(root, "other", 5, without=("val002", "train001"), **EXTRACTED)
    benchmark = load_benchmark("toy", root)
    folder = root / "CLIP"
    folder.mkdir()
    for number, name in enumerate(benchmark.all_ids()):
        np.save(folder / f"{name}.npy", np.full((FRAMES, 3), number, np.float32))
    register_npy(benchmark, folder, root)
    return root


@pytest.fixture
def benchmark(root: Path) -> Benchmark:
    return load_benchmark("toy", root)


@pytest.fixture
def joined(root: Path, benchmark: Benchmark) -> JoinedStore:
    store = open_features(root, benchmark, "toy+other+clip")
    assert isinstance(store, JoinedStore)
    return store


def test_columns_stand_side_by_side(joined: JoinedStore) -> None:
    assert [part.manifest.recipe.encoder for part in joined.parts] == ["clip", "other", "toy"]
    assert (joined.frames, joined.width) == (FRAMES, 3 + 5 + WIDTH)
    ids = ["test003", "train010", "test003"]
    expected = np.concatenate([part.read(ids) for part in joined.parts], axis=2)
    given = np.full((4, FRAMES, joined.width), 7, np.float16)
    for found in (joined.read(ids), joined.read(ids, given[:3])):
        assert found.dtype == np.float16 and np.array_equal(found, expected)
    assert (given[3] == 7).all()  # and nothing beside them
    assert np.array_equal(joined.times("test003"), joined.parts[1].times("test003"))


def test_features_go_from_the_file_into_their_place(
    joined: JoinedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, out = joined.ids[:8], np.empty((8, FRAMES, joined.width), np.float16)
    shards = JoinedStore(joined.parts[1:])  # .npy files are converted, which takes an array
    monkeypatch.setattr(np, "empty", None)
    monkeypatch.setattr(np, "concatenate", None)
    assert shards.read(ids, out[:, :, 3:]).base is not None
    with pytest.raises(ValueError, match="expected"):
        joined.read(ids, out[:, :, 3:])


def test_rows_more_than_the_system_takes_at_once(tmp_path: Path) -> None:
    write_toy(tmp_path)
    without = load_benchmark("toy", tmp_path).all_ids()[3:]
    stores = [
        open_store(write_more(tmp_path, name, width, 2_500, without=without))
        for name, width in (("a", 1), ("b", 2))
    ]
    found = JoinedStore(stores).read(stores[0].ids)
    expected = np.concatenate([store.read(stores[0].ids) for store in stores], axis=2)
    assert np.array_equal(found, expected)


def test_a_video_that_one_store_has_not_is_missing(root: Path, joined: JoinedStore) -> None:
    listed = set(load_benchmark("toy", root).all_ids())
    assert listed - set(joined.ids) == {"train001", "val002"}
    assert joined.ids == tuple(sorted(joined.ids))
    with pytest.raises(DataError, match=r"^other-toy-8-.* has no features of 'val002'"):
        joined.read(["val002"])


def test_a_shard_that_is_cut_off_is_named(tmp_path: Path) -> None:
    write_toy(tmp_path)
    folder = write_more(tmp_path, "other", 5)
    store = open_features(tmp_path, load_benchmark("toy", tmp_path), "toy+other")
    shard = sorted(folder.glob("part-*.h5"))[-1]
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(DataError, match=f"{shard.name} has changed"):
        store.read(store.ids)


def test_a_read_that_ends_early_is_named(root: Path) -> None:
    (folder,) = (root / "features" / "toy").glob("other-*")
    path = min(folder.glob("part-*.h5"))
    layout = shard_layout(path, FRAMES, 5)
    layout = replace(layout, offset=path.stat().st_size - 12)
    with pytest.raises(DataError, match=rf"{path.name} is no readable shard \(12 of 80 bytes"):
        layout.read(0, np.empty((FRAMES, 9), np.float16)[:, :5])


def test_the_order_of_the_names_does_not_count(root: Path, benchmark: Benchmark) -> None:
    one, two = (open_features(root, benchmark, name) for name in ("toy+other", " other- + toy-"))
    assert (one.name, one.fingerprint) == (two.name, two.fingerprint)
    assert np.array_equal(one.read(one.ids[:3]), two.read(two.ids[:3]))
    parts = [open_features(root, benchmark, name) for name in ("other", "toy")]
    assert all(isinstance(part, FeatureStore) for part in parts)
    assert one.name == "+".join(part.name for part in parts)
    assert one.fingerprint == "+".join(part.fingerprint for part in parts)


def test_the_manifest_says_what_each_part_is(
    root: Path, benchmark: Benchmark, joined: JoinedStore, tmp_path: Path
) -> None:
    manifest = joined.manifest
    assert manifest.encoder == "clip+other+toy"
    assert manifest.weights == "imported+toy+toy"
    assert (joined.untrained, joined.imported) == (False, True)
    assert manifest.conditions == {
        "decoder": "unknown + pyav + unknown",
        "batch": "unknown + 8 + unknown",
    }
    alike = replace(manifest, parts=(manifest.parts[1], manifest.parts[1]))
    assert alike.conditions == manifest.parts[1].conditions
    untrained = replace(manifest.parts[0], imported=False, untrained=True)
    assert JoinedManifest((untrained, manifest.parts[1])).untrained
    for each in (manifest, manifest.parts[1]):
        save_joined_manifest(tmp_path, each)
        assert load_joined_manifest(tmp_path) == each
    assert load_manifest(tmp_path) == manifest.parts[1]  # of one store it is that store's own


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 2, "parts": [{"schema": 2}]}', "damaged"),
        ('{"schema": 2, "parts": 3}', "damaged"),
        ('{"schema": 2, "parts": []}', "it joins 0 stores"),
        ('{"schema": 1}', "has schema 1"),
        ("[]", "damaged"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=message):
        load_joined_manifest(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toy+toy", "names the features toy-toy-8-.* twice"),
        ("toy+to", "names the features toy-toy-8-.* twice"),
        ("toy+", r"'toy\+' has an empty name"),
        ("toy+othre", "There is no feature store of toy 'othre'; known: clip-"),
    ],
)
def test_names_that_make_no_sense_are_refused(
    root: Path, benchmark: Benchmark, name: str, message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        open_features(root, benchmark, name)


def test_other_lengths_are_refused_with_the_command_that_makes_them_equal(tmp_path: Path) -> None:
    write_toy(tmp_path)
    benchmark = load_benchmark("toy", tmp_path)
    write_more(tmp_path, "long", 5, FRAMES + 2, **EXTRACTED)
    line = f"`meid-bench extract --dataset toy --encoder long --weights toy --frames {FRAMES}`"
    for name in ("toy+long", "long+toy"):  # nobody can extract the toy's own again
        with pytest.raises(MeidBenchError, match=f"^long-.* {FRAMES + 2} frames a video.*{line}"):
            open_features(tmp_path, benchmark, name)
    write_more(tmp_path, "short", 4, 3, **EXTRACTED, weights="random:0")
    again = f"--encoder short --weights random:0 --frames {FRAMES + 2}`"
    with pytest.raises(MeidBenchError, match=f"^short-.*{again}"):
        open_features(tmp_path, benchmark, "long+short")  # the first one's length holds
    write_more(tmp_path, "given", 4, 3, imported=True, fingerprint="1" * 64)
    with pytest.raises(MeidBenchError, match=f"import features of {FRAMES} frames a video"):
        open_features(tmp_path, benchmark, "toy+given")


def test_features_of_other_labels_are_refused(tmp_path: Path) -> None:
    benchmark = write_toy(tmp_path)
    folder = write_more(tmp_path, "other", 5)
    other = replace(load_manifest(folder), benchmark_fingerprint="2" * 64)
    save_manifest(folder, other)
    with pytest.raises(DataError, match="of another version of toy"):
        open_features(tmp_path, benchmark, "toy+other")
    save_manifest(folder, replace(other, benchmark="elsewhere"))
    stores = [open_store(path) for path in sorted(folder.parent.glob("*/"))]
    with pytest.raises(DataError, match=r"of elsewhere .22222222., .* of toy"):
        JoinedStore(stores)
