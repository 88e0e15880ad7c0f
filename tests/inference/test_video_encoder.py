"""A run on the features of two encoders predicts with both, each as its features were made."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from meid_bench.benchmark.benchmark import load_benchmark
from meid_bench.cli.main import cli
from meid_bench.errors import DataError, SettingError
from meid_bench.features.joined_manifest import save_joined_manifest
from meid_bench.features.joined_store import open_features
from meid_bench.inference.trained_run import load_run
from meid_bench.inference.video_encoder import weights_of_parts
from meid_bench.results.record import load_scores
from meid_bench.training.request import Request, plan_run
from meid_bench.training.run import run
from tests.extraction import CPU, ENCODER, NAME, run_small, small_benchmark, small_videos

SETTINGS = {"epochs": "2", "milestones": "1", "batch": "4"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on features of ENCODER, whose weights were a file, and of a small ResNet."""
    root = tmp_path_factory.mktemp("two")
    benchmark = small_benchmark(root, small_videos(root, 15))
    run_small(benchmark, root)
    run_small(benchmark, root, encoder="resnet18", weights="random:0")
    request = Request("plain", NAME, "nonlinear", features=f"{ENCODER}+resnet18", settings=SETTINGS)
    run(plan_run(request, root), CPU[0])
    return root


def weights(root: Path) -> str:
    return f"{ENCODER}-tiny={root / 'tiny.pth'}"


def test_a_file_goes_through_both_encoders(root: Path) -> None:
    trained = load_run("plain", root=root, weights=weights(root))
    assert [each.encoder.name for each in trained.encoders] == ["resnet18", ENCODER]
    benchmark = load_benchmark(NAME, root)
    (stored,) = open_features(root, benchmark, trained.record.features.name).read(["v02"])
    np.testing.assert_array_equal(trained.encode(root / "videos" / "v02.mp4"), stored)
    assert trained.differences == ()
    ids, scores = load_scores(trained.folder)
    (prediction,) = trained.predict(root / "videos" / f"{ids[0]}.mp4")
    assert prediction.score == pytest.approx(scores[0][0], abs=1e-6)


def test_differences_name_the_encoder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = load_run("plain", root=root, weights=weights(root))
    monkeypatch.setattr(trained.encoders[1].encoder, "precision", "bfloat16, on something else")
    (sentence,) = trained.differences
    assert sentence.startswith(f"{ENCODER}: precision is bfloat16, on something else; the training")


def test_predict_and_inspect_commands(root: Path) -> None:
    where = ["--root", str(root), "--device", "cpu", "--run", "plain"]
    video = str(root / "videos" / "v02.mp4")
    done = CliRunner().invoke(cli, ["predict", video, *where, "--weights", weights(root)])
    assert done.exit_code == 0, done.output
    assert "resnet18 is untrained" in done.stderr and f"{ENCODER} is" not in done.stderr
    done = CliRunner().invoke(cli, ["predict", video, *where])
    assert done.exit_code == 1 and "where the weights were a file" in done.output
    done = CliRunner().invoke(cli, ["inspect", "v02", *where])
    assert done.exit_code == 0, done.output


def test_it_is_clear_whose_weights_are_given(root: Path) -> None:
    trained = load_run("plain", root=root)
    parts = trained.manifest.parts
    assert weights_of_parts(parts, ()) == [None, None]
    assert weights_of_parts(parts, ("shuffle=a=b.pth", "resnet18=c")) == ["c", "a=b.pth"]
    assert weights_of_parts(parts[:1], ("a=b.pth",)) == ["a=b.pth"]
    wrong = [("a.pth",), ("resnet50=a.pth",), ("=a.pth",), ("r=a.pth", "resnet18=b.pth")]
    for given in wrong:
        with pytest.raises(SettingError, match=r"must be NAME=FILE.* one of resnet18-random0-4-"):
            weights_of_parts(parts, given)


def test_a_manifest_of_one_encoder_alone_is_refused(root: Path, tmp_path: Path) -> None:
    trained = load_run("plain", root=root)
    copied = Path(shutil.copytree(trained.folder, tmp_path / "run"))
    first = trained.manifest.parts[0]
    save_joined_manifest(copied, first)
    message = f"is of features {first.fingerprint[:8]} .4 frames by 512.; the model was trained on "
    with pytest.raises(DataError, match=message + first.fingerprint[:8] + r"\+"):
        load_run(copied)
