"""Features as one .npy per video, read in place: VideoLT as its authors hand it out."""

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from meid_bench.benchmark.benchmark import Benchmark, load_benchmark
from meid_bench.benchmark.build import build
from meid_bench.cli.main import cli
from meid_bench.errors import DataError
from meid_bench.features.manifest import load_failures
from meid_bench.features.npy_store import (
    NpyStore,
    Registered,
    npy_folders,
    open_store,
    register_all,
    register_npy,
)
from tests.made_release import spec_data, write_zip

T, D = 6, 5
LISTS = {
    "train": ["a1 0", "a2 0,1", "a3 0", "a4 1", "a5 2", "a6 0,2"],
    "val": ["b1 0", "b2 1", "b3 2"],
    "test": ["c1 0,1", "c2 2", "c3 0"],
}
IDS = [line.split()[0] for lines in LISTS.values() for line in lines]
REAL = Path(__file__).parents[3] / "shared" / "data" / "videolt"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """VideoLT's shape in small: lists, counts, features of two encoders."""
    source = tmp_path / "source"
    (source / "labels").mkdir(parents=True)
    for split, lines in LISTS.items():
        (source / "labels" / f"{split}.lst").write_text("\n".join(lines) + "\n")
    (source / "labels" / "counts.lst").write_text("Cut 0 4.0\nStir well 1 2.0\nPour 2 2.0\n")
    for encoder in ("ResNet-101", "TSM-ResNet-50"):
        (source / "features" / encoder).mkdir(parents=True)
        for name in IDS:
            np.save(source / "features" / encoder / f"{name}.npy", features(encoder + name))
    write_zip(source / "Made.zip", {})
    write_zip(source / "Made_480.zip", {})
    data = spec_data(source, "http://0.0.0.0:1", ".zip")
    data.update(name="minilt", format="videolt", frames=T, training_frames=3, lists=None)
    data["sources"]["videos"] = None
    data["sources"]["annotations"]["members"] = {
        role: f"labels/{name}.lst"
        for role, name in {**{split: split for split in LISTS}, "classes": "counts"}.items()
    }
    (tmp_path / "spec").mkdir()
    (tmp_path / "spec" / "spec.json").write_text(json.dumps(data))
    return tmp_path


def features(name: str) -> Any:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
    return np.random.default_rng(seed).random((T, D), dtype=np.float32)


def built(release: Path) -> list[Registered]:
    result = build(release / "spec", release / "root", release / "source")
    assert result.features == release / "source"
    return register_all(result.benchmark, result.features, release / "root")


def test_features_are_read_where_they_are(release: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (release / "source").rglob("*")}
    found = built(release)
    names = [registered.store.name for registered in found]
    assert [name.rsplit("-", 1)[0] for name in names] == [
        "resnet101-imported-6",
        "tsm_resnet50-imported-6",
    ]
    store = open_store(found[0].store)
    assert isinstance(store, NpyStore)
    assert (store.ids, store.frames, store.width) == (tuple(sorted(IDS)), T, D)
    assert store.imported
    assert not store.untrained
    assert store.benchmark_fingerprint == load_benchmark("minilt", release / "root").fingerprint
    for name, read in zip(["c2", "a1"], store.read(["c2", "a1"]), strict=True):
        assert np.array_equal(read, features("ResNet-101" + name).astype(np.float16))
    assert {path: path.stat().st_mtime_ns for path in (release / "source").rglob("*")} == before
    copied = sum(path.stat().st_size for path in (release / "root" / "features").rglob("*"))
    assert copied < 40_000
    assert found[0].store != found[1].store
    assert store.fingerprint != open_store(found[1].store).fingerprint


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": Bomb()}], dtype=object), allow_pickle=True)
    return file.getvalue()


class Bomb:
    """Would leave a file behind if it were ever unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("unpickled"),)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, features=np.ones((T, D), np.float32))
    return file.getvalue()


BROKEN = {
    "integers": (npy(np.ones((T, D), np.int64)), "dtype int64, expected one of float16"),
    "too few frames": (npy(np.ones((T - 1, D), np.float32)), r"shape \(5, 5\), expected \(6, 5\)"),
    "too wide": (npy(np.ones((T, D + 1), np.float32)), r"shape \(6, 6\), expected \(6, 5\)"),
    "flat": (npy(np.ones(T * D, np.float32)), r"shape \(30,\)"),
    "a number": (npy(np.float32(1)), r"shape \(\)"),
    "no width": (npy(np.ones((T, 0), np.float32)), r"shape \(6, 0\)"),
    "empty": (b"", "is no .npy file of numbers"),
    "text": (b"Not Found\n" * 9, "is no .npy file of numbers"),
    "cut": (npy(np.ones((T, D), np.float32))[:-1], "is no .npy file of numbers"),
    "pickled": (pickled(), "is no .npy file of numbers"),
    "a pickle": (pickle.dumps({"a": Bomb()}), "is no .npy file of numbers"),
    "an archive": (npz(), r"is an \.npz"),
    "NaN": (npy(np.full((T, D), np.nan, np.float32)), "NaN"),
    "missing": (None, "there is no file"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_not_usable_is_reported_like_a_broken_video(
    kind: str, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(release)
    body, fault = BROKEN[kind]
    path = release / "source" / "features" / "ResNet-101" / "b2.npy"
    path.unlink()
    if body is not None:
        path.write_bytes(body)
    found = built(release)
    registered = found[0]
    assert registered.stored == len(IDS) - 1
    failure = load_failures(registered.store)["b2"]
    with pytest.raises(DataError, match=fault):
        raise DataError(failure.error)
    assert "b2" not in open_store(registered.store).ids
    with pytest.raises(DataError, match=r"no features of 'b2': it could not be read"):
        open_store(registered.store).read(["b2"])
    assert not (release / "unpickled").exists()
    # Put right and built again, it is there.
    np.save(path, features("b2"))
    again = built(release)[0]
    assert again.failed == ()
    assert load_failures(again.store) == {}
    assert len(list((release / "root" / "features" / "minilt").iterdir())) == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_what_shows_only_when_read_is_a_sentence_and_can_be_put_away(
    value: float, release: Path
) -> None:
    array = features("a3")
    array[-1, -1] = value
    np.save(release / "source" / "features" / "ResNet-101" / "a3.npy", array)
    store = built(release)[0].store
    with pytest.raises(DataError, match=r"a3\.npy: holds NaN, or .*verify --repair"):
        open_store(store).read(["a1", "a3"])
    verify = ["verify", "--dataset", "minilt", "--features", store.name]
    verify += ["--root", str(release / "root")]
    said = CliRunner().invoke(cli, verify)
    assert said.exit_code == 1
    assert "a3.npy, video 'a3': holds NaN" in said.output
    CliRunner().invoke(cli, [*verify, "--repair"])
    assert "a3" not in open_store(store).ids
    assert "holds NaN" in load_failures(store)["a3"].error
    assert (release / "source" / "features" / "ResNet-101" / "a3.npy").is_file()


def test_a_method_runs_on_features_in_place(release: Path) -> None:
    built(release)
    arguments = ["run", "--method", "plain", "--dataset", "minilt", "--features", "resnet101"]
    arguments += ["--aggregator", "nonlinear", "--quick", "--device", "cpu", "--set", "batch=6"]
    run = CliRunner().invoke(cli, [*arguments, "--root", str(release / "root")])
    assert run.exit_code == 0, run.output


def test_a_folder_that_went_away_is_a_sentence(release: Path) -> None:
    store = built(release)[0].store
    (release / "source" / "features").rename(release / "elsewhere")
    with pytest.raises(DataError, match="which is not there; bring the folder back, or build"):
        open_store(store)


def test_a_folder_of_other_videos_is_a_sentence(release: Path, tmp_path: Path) -> None:
    built(release)
    benchmark: Benchmark = load_benchmark("minilt", release / "root")
    (tmp_path / "other").mkdir()
    np.save(tmp_path / "other" / "zz.npy", features("zz"))
    assert npy_folders(tmp_path / "other") == [tmp_path / "other"]
    with pytest.raises(DataError, match=r"no usable features .*a1\.npy: there is no file"):
        register_npy(benchmark, tmp_path / "other", release / "root")


@pytest.mark.skipif(not REAL.is_dir(), reason="needs VideoLT's public lists")
def test_the_official_lists_give_table_1(tmp_path: Path) -> None:
    arguments = ["build", "videolt", "--source", str(REAL), "--root", str(tmp_path)]
    output = CliRunner().invoke(cli, arguments)
    assert output.exit_code == 0, output.output
    assert output.output.count(" yes") == 9
