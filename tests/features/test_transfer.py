"""Folders of .npy files, in and out, to the bit; bad files are named and never unpickled."""

import io
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from meid_bench.cli.main import cli
from meid_bench.errors import DataError, SettingError
from meid_bench.features.manifest import load_failures, load_manifest
from meid_bench.features.store import FeatureStore, find_store
from meid_bench.features.transfer import Origin, export_features, import_features
from meid_bench.files import features_dir
from tests.toy import FRAMES, WIDTH, write_toy


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The toy benchmark with features under root/, exported to out/."""
    folder = tmp_path_factory.mktemp("exported")
    benchmark = write_toy(folder / "root")
    store = find_store(folder / "root", benchmark)
    assert export_features(store, folder / "out") == len(benchmark.all_ids())
    return folder, benchmark, store.name


@pytest.fixture
def toy(exported, tmp_path):
    """A copy of that to change: root, benchmark, store, exported folder."""
    folder, benchmark, name = exported
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    root, out = tmp_path / "root", tmp_path / "out"
    return root, benchmark, FeatureStore(features_dir(root, "toy") / name), out


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_out_and_in_again_is_bit_exact(toy):
    root, benchmark, before, out = toy
    for name in before.ids:
        array = np.load(out / f"{name}.npy")
        assert (array.dtype, array.shape) == (np.float16, (FRAMES, WIDTH))
        assert array.tobytes() == before.read([name])[0].tobytes()
    after = FeatureStore(import_features(benchmark, out, root))
    assert after.imported and not after.untrained
    assert after.ids == before.ids
    assert after.read(after.ids).tobytes() == before.read(before.ids).tobytes()
    assert after.manifest.recipe == before.manifest.recipe
    assert np.isnan(after.times(after.ids[0])).all()


def test_what_verify_takes_out_is_imported_again(toy):
    root, benchmark, _, out = toy
    store = import_features(benchmark, out, root)
    before = {path.name: path.read_bytes() for path in store.glob("part-*")}
    (store / "part-00000.h5").write_bytes(b"no shard")
    arguments = ["verify", "--dataset", "toy", "--features", store.name, "--root", str(root)]
    repaired = CliRunner().invoke(cli, [*arguments, "--repair"])
    assert repaired.exit_code == 1
    assert "64 listed videos have no features; import them again" in repaired.output
    assert import_features(benchmark, out, root) == store
    assert {path.name: path.read_bytes() for path in store.glob("part-*")} == before


def test_importing_again_gives_the_same_store_and_other_values_another(toy):
    root, benchmark, _, out = toy
    store = import_features(benchmark, out, root)
    shards = {path.name: path.read_bytes() for path in store.glob("part-*")}
    assert import_features(benchmark, out, root) == store
    assert {path.name: path.read_bytes() for path in store.glob("part-*")} == shards
    changed = np.load(out / "test000.npy")
    changed[0, 0] += 1
    np.save(out / "test000.npy", changed)
    assert import_features(benchmark, out, root) != store


def test_what_is_not_told_is_unknown_and_what_is_told_is_kept(toy):
    root, benchmark, _, out = toy
    (out / "manifest.json").unlink()
    manifest = load_manifest(import_features(benchmark, out, root))
    assert {manifest.recipe.encoder, manifest.recipe.transform, manifest.recipe.source} == {
        "unknown"
    }
    assert manifest.weights == "unknown" and not manifest.untrained
    told = load_manifest(
        import_features(benchmark, out, root, Origin("clip", weights="random:3", source="480p"))
    )
    assert (told.recipe.encoder, told.recipe.source) == ("clip", "480p")
    assert told.untrained


def test_wider_numbers_are_rounded_and_counted(toy):
    root, benchmark, before, out = toy
    exact = before.read(["test000"])[0].astype(np.float32)
    np.save(out / "test000.npy", exact)  # nothing to round
    np.save(out / "test001.npy", np.full((FRAMES, WIDTH), 1 / 3, np.float64))
    store = FeatureStore(import_features(benchmark, out, root))
    assert store.manifest.provenance["rounded_to_float16"] == 1
    assert np.array_equal(store.read(["test000"])[0], exact)
    assert (store.read(["test001"]) == np.float16(1 / 3)).all()


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (None, "there is no file"),
        (npy(np.zeros((FRAMES, WIDTH), np.float16))[:-7], "no .npy file"),
        (npy(np.zeros((FRAMES, WIDTH), np.complex64)), "dtype complex64"),
        (npy(np.float16(1)), "shape"),
        (npy(np.zeros((FRAMES + 1, WIDTH), np.float16)), "shape"),
        (npy(np.full((FRAMES, WIDTH), 1e6, np.float32)), "beyond float16"),
    ],
)
def test_a_bad_file_is_a_failure_with_its_reason(toy, contents, said):
    root, benchmark, _, out = toy
    path = out / "val003.npy"
    path.unlink()
    if contents is not None:
        path.write_bytes(contents)
    store = import_features(benchmark, out, root)
    failures = load_failures(store)
    assert list(failures) == ["val003"]
    assert said in failures["val003"].error
    assert "val003" not in FeatureStore(store).ids


def test_a_header_that_lies_about_its_size_takes_no_memory(toy):
    root, benchmark, _, out = toy
    header = npy(np.zeros((FRAMES, WIDTH), np.float16))[:128]
    lie = header.replace(f"({FRAMES}, {WIDTH})".encode(), b"(99999, 99999999)"[:32])
    lie = lie[:8] + (len(lie) - 10).to_bytes(2, "little") + lie[10:]
    (out / "val003.npy").write_bytes(lie)
    assert "no .npy file" in load_failures(import_features(benchmark, out, root))["val003"].error


def test_an_interrupted_import_leaves_no_store_and_a_second_one_is_whole(toy, monkeypatch):
    root, benchmark, before, out = toy

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("meid_bench.features.store.save_manifest", interrupted)
        with pytest.raises(KeyboardInterrupt):
            import_features(benchmark, out, root)
    assert list(before.folder.parent.iterdir()) == [before.folder]
    after = FeatureStore(import_features(benchmark, out, root))
    assert after.read(after.ids).tobytes() == before.read(before.ids).tobytes()


@pytest.mark.parametrize("half", ["folder", "encoder"])
def test_a_name_that_no_manifest_can_hold_is_refused_before_anything_is_copied(toy, half):
    root, benchmark, before, out = toy
    folder = out.rename(out.with_name("f\udcff")) if half == "folder" else out
    origin = Origin("e\udcff") if half == "encoder" else Origin()
    with pytest.raises(SettingError, match=r"manifest\..* is '.\\udcff', which no file can hold"):
        import_features(benchmark, folder, root, origin)
    assert list(before.folder.parent.iterdir()) == [before.folder]


def test_folders_without_features_are_named(toy, tmp_path):
    root, benchmark, _, _ = toy
    empty = tmp_path / "empty"
    with pytest.raises(DataError, match="is no folder"):
        import_features(benchmark, empty, root)
    empty.mkdir()
    np.save(empty / "somebody_else.npy", np.zeros((FRAMES, WIDTH), np.float16))
    with pytest.raises(DataError, match="of a listed video"):
        import_features(benchmark, empty, root)
    np.save(empty / "val000.npy", np.full((FRAMES, WIDTH), np.inf, np.float16))
    with pytest.raises(DataError, match="no usable features of toy's videos"):
        import_features(benchmark, empty, root)


def test_an_export_does_not_mix_two_stores(toy):
    root, benchmark, _, out = toy
    np.save(out / "test000.npy", np.zeros((FRAMES, WIDTH), np.float16))
    other = import_features(benchmark, out, root)
    with pytest.raises(DataError, match="features of another store"):
        export_features(other, out)


def test_the_commands(toy, tmp_path):
    root, benchmark, before, out = toy
    (out / "val003.npy").unlink()
    np.save(out / "stranger.npy", np.zeros((FRAMES, WIDTH), np.float16))
    arguments = ["import-features", str(out), "--dataset", "toy", "--root", str(root)]
    refused = CliRunner().invoke(cli, arguments)
    assert refused.exit_code == 1
    assert "1 of 96 videos have no features" in refused.output
    assert "val003: there is no file" in refused.output
    done = CliRunner().invoke(cli, [*arguments, "--allow-missing", "1", "--encoder", "clip"])
    assert done.exit_code == 0, done.output
    assert "made by   clip, weights toy" in done.output
    assert "left out  1 files of videos that toy does not list" in done.output
    again = tmp_path / "again"
    arguments = ["export-features", str(again), "--dataset", "toy", "--root", str(root)]
    several = CliRunner().invoke(cli, arguments)
    assert several.exit_code == 1 and "choose one with --features" in several.output
    done = CliRunner().invoke(cli, [*arguments, "--features", before.folder.name])
    assert done.exit_code == 0, done.output
    assert len(list(again.glob("*.npy"))) == len(benchmark.all_ids())
    assert json.loads((again / "manifest.json").read_text())["recipe"]["encoder"] == "toy"


def test_imported_features_are_trained_on_like_any_other(toy):
    root, _, before, out = toy
    arguments = ["--dataset", "toy", "--root", str(root)]
    done = CliRunner().invoke(cli, ["import-features", str(out), *arguments, "--encoder", "clip"])
    store = next(path for path in before.folder.parent.glob("clip-*"))
    arguments += ["--method", "plain", "--features", store.name, "--quick"]
    arguments += ["--device", "cpu", "--set", "batch=16"]
    done = CliRunner().invoke(cli, ["run", *arguments])
    assert done.exit_code == 0, done.output
