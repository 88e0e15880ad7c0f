"""A trained run reads any video as the extraction did, shows what it sees, and refuses the rest."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from meid_bench.benchmark.annotation import Annotation, Interval
from meid_bench.benchmark.benchmark import SPLITS, Benchmark, load_benchmark, save_benchmark
from meid_bench.benchmark.build_manifest import (
    SCHEMA,
    BuildManifest,
    VideosFound,
    save_build_manifest,
)
from meid_bench.benchmark.longtail import Bins
from meid_bench.cli.main import cli
from meid_bench.errors import DataError, MeidBenchError, SettingError
from meid_bench.features.store import FeatureStore
from meid_bench.files import HOME_VARIABLE, benchmark_dir, features_dir, runs_dir
from meid_bench.inference.inspection import inspect_video
from meid_bench.inference.inspection_picture import save_picture
from meid_bench.inference.trained_run import find_run, load_run
from meid_bench.results.record import SCORES, load_scores
from meid_bench.training.explain import frame_weights
from meid_bench.training.request import Request, plan_run
from meid_bench.training.run import run
from tests.extraction import CPU, FRAMES, NAME, run_small
from tests.made_videos import write_jpgs, write_video

CLASSES = ("a & <b>", "$x_1$ 🎉", 'say "hi"', "plain")
SETTINGS = {"epochs": "2", "milestones": "1", "batch": "4"}


def make_benchmark(root: Path, count: int = 15) -> Benchmark:
    videos = []
    for number in range(count):
        labels = (0,) if number % 3 else (0, 1 + number % 2)
        intervals = tuple(Interval(label, 0.1, 0.3 + label / 10) for label in labels)
        videos.append(Annotation(f"v{number:02d}", labels, intervals, length=0.6))
        write_video(root / "videos" / f"v{number:02d}.mp4", 6 + number % 3, (32, 32))
    benchmark = Benchmark(
        name=NAME,
        title="Small",
        classes=CLASSES,
        splits={split: tuple(videos[start::3]) for start, split in enumerate(SPLITS)},
        bins=Bins(1, 3),
        frames=FRAMES,
    )
    save_benchmark(benchmark, benchmark_dir(root, NAME))
    found = VideosFound(folder="videos", archive="made", found=count, missing=())
    manifest = BuildManifest(SCHEMA, NAME, benchmark.fingerprint, {}, found, "0", "today")
    save_build_manifest(manifest, root)
    return benchmark


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with videos, features of a small encoder, and a run of MEID and of plain."""
    root = tmp_path_factory.mktemp("trained")
    benchmark = make_benchmark(root)
    run_small(benchmark, root, encoder="resnet18", weights="random:0")
    for method in ("meid", "plain"):
        request = Request(method, NAME, aggregator="nonlinear", settings=SETTINGS)
        run(plan_run(request, root), CPU[0])
    return root


@pytest.fixture(scope="module")
def meid(root):
    return load_run("meid", root=root)


def test_a_file_goes_the_way_that_the_extraction_went(root, meid):
    (folder,) = features_dir(root, NAME).iterdir()
    stored = FeatureStore(folder).read(["v02"])[0]
    np.testing.assert_array_equal(meid.encode(root / "videos" / "v02.mp4"), stored)
    assert (stored[1:] != stored[:-1]).mean() > 0.2  # frames that are told apart at all
    assert meid.differences == ()


def test_predictions_are_the_scores_of_the_record(root, meid):
    ids, scores = load_scores(meid.folder)
    found = meid.predict(root / "videos" / f"{ids[0]}.mp4")
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    by_name = {p.label: p.score for p in found}
    np.testing.assert_allclose([by_name[name] for name in CLASSES], scores[0], atol=1e-6)


def test_the_documented_python_example_runs(root, meid, tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    shutil.copytree(root, tmp_path / "data")
    shutil.copy(root / "videos" / "v00.mp4", tmp_path / "clip.mp4")
    shutil.copy(meid.folder / SCORES, tmp_path / "scores.npz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    names: dict[str, Any] = {}
    exec(example.replace("charadeslt", NAME), names)
    assert names["features"].shape == (2, FRAMES, meid.model.task.width)
    assert names["result"].test == meid.record.test
    assert set(names["board"]["method"]) == {"meid", "plain", "Our method", "chance"}
    assert "Statistics(classes=4" in capsys.readouterr().out


def test_a_video_of_one_frame_is_predicted(tmp_path, meid):
    assert len(meid.predict(write_video(tmp_path / "one.mp4", 1, (32, 32)))) == len(CLASSES)


def test_attention_inside_intervals_is_in_the_record(root, meid):
    diagnostics = meid.record.diagnostics
    for name in ("A", "R", "uniform"):
        assert 0 <= diagnostics[f"inside_{name}_overall"] <= 1
    assert "inside_uniform_head" in diagnostics
    without_weights = load_run("plain", root=root).record.diagnostics
    assert not [name for name in without_weights if name.startswith("inside_")]


def test_frame_weights_are_told_from_logits(meid):
    import torch

    x = torch.randn(2, FRAMES, meid.model.task.width)
    assert meid.model.task.classes == FRAMES  # the shapes alone do not tell them apart
    with torch.no_grad():
        assert sorted(frame_weights(meid.method.explain(x), FRAMES)) == ["A", "R"]


def test_run_is_found_by_folder_name_or_beginning(root):
    folder = next(runs_dir(root, NAME).glob("meid*"))
    for name in (folder, folder.name, "meid"):
        assert find_run(name, root) == folder
    with pytest.raises(SettingError, match="no finished run 'mied'"):
        find_run("mied", root)
    with pytest.raises(SettingError, match="2 runs begin with ''"):
        find_run("", root)


@pytest.fixture
def copied(root, meid, tmp_path):
    """The run's folder, somewhere else, to be broken."""
    return Path(shutil.copytree(meid.folder, tmp_path / "run"))


def test_a_run_that_was_moved_still_predicts(root, copied):
    assert load_run(copied).predict(root / "videos" / "v00.mp4")


def test_a_run_whose_learning_rate_was_chosen_predicts(root, tmp_path):
    copy = Path(shutil.copytree(root, tmp_path / "data"))
    settings = {"batch": "4"}
    request = Request(
        "plain", NAME, "nonlinear", settings=settings, protocol="equal", quick=True, seed=5
    )
    planned = plan_run(request, copy)
    run(planned, CPU[0])
    assert load_run(planned.folder).predict(root / "videos" / "v00.mp4")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.safetensors", "model.safetensors is missing; run it again"),
        ("model.json", "missing"),
        ("manifest.json", "no manifest.json"),
    ],
)
def test_what_is_gone_is_named(copied, name, message):
    (copied / name).unlink()
    with pytest.raises(DataError, match=message):
        load_run(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": "0" * 64}, "trained on 00000000"),
        ({"task": {"width": 64}}, ""),
        ({"task": {"width": -4}}, "do not fit meid"),
    ],
)
def test_a_model_of_other_features_is_refused(copied, change, message):
    path = copied / "model.json"
    model = json.loads(path.read_text())
    if "task" in change:
        change = {"task": model["task"] | change["task"]}
    path.write_text(json.dumps(model | change))
    with pytest.raises(DataError, match=message):
        load_run(copied)


def test_another_encoder_is_refused(root, meid):
    other = load_run(meid.folder, weights="random:1")
    with pytest.raises(DataError, match=r"weights_sha256 is .* expected"):
        other.predict(root / "videos" / "v00.mp4")


def test_weights_that_were_a_file_must_be_named(root, meid):
    other = replace(meid, manifest=replace(meid.manifest, weights="best"))
    with pytest.raises(DataError, match=r"'best'.*where the weights were a file"):
        other.predict(root / "videos" / "v00.mp4")


def test_imported_features_cannot_predict_from_files(root, meid):
    for change, kind in (({"imported": True}, "imported"), ({"provenance": {}}, "simulated")):
        other = replace(meid, manifest=replace(meid.manifest, **change))
        with pytest.raises(DataError, match=f"{kind} features"):
            other.predict(root / "videos" / "v00.mp4")


def call(root, *arguments):
    return CliRunner().invoke(cli, [*map(str, arguments), "--device", "cpu", "--root", str(root)])


def test_predict_command_in_every_format(root):
    video = root / "videos" / "v00.mp4"
    for style in ("table", "csv", "json"):
        done = call(root, "predict", video, video, "--run", "meid", "--top", 2, "--format", style)
        assert done.exit_code == 0, done.output
        assert "untrained" in done.stderr
    rows = json.loads(done.stdout)
    assert [row["video"] for row in rows] == [str(video)] * 4
    assert rows[0]["score"] >= rows[1]["score"]


def test_predict_command_names_the_broken_file_and_does_the_rest(root, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    good = root / "videos" / "v00.mp4"
    done = call(
        root, "predict", tmp_path / "text.mp4", tmp_path / "gone.mp4", good, "--run", "meid"
    )
    assert done.exit_code == 1
    assert "v00.mp4" in done.stdout
    assert "text.mp4 cannot be read" in done.stderr
    assert "gone.mp4 cannot be read" in done.stderr
    alone = call(root, "predict", tmp_path / "gone.mp4", "--run", "meid")
    assert alone.exit_code == 1 and not alone.stdout  # no head of a table without a row


def test_inspection_holds_what_the_picture_shows(root, meid):
    ids = load_benchmark(NAME, root).ids("test")
    found = inspect_video(meid, ids[0], root)
    assert len(found.frames) == 8  # of 8 decoded frames every one, once
    assert [moment for moment, _ in found.frames] == sorted(moment for moment, _ in found.frames)
    assert sorted(found.weights) == ["A", "R"]
    assert found.weights["A"].mean() == pytest.approx(1, abs=1e-5)
    assert list(found.scores) == ["expert1", "expert2", "both"]
    assert found.in_seconds
    saved, scores = load_scores(meid.folder)
    assert saved[0] == ids[0]
    np.testing.assert_allclose(found.scores["both"], scores[0], atol=1e-6)


def test_inspect_command_writes_a_picture_that_the_report_shows(root, meid, tmp_path):
    video = load_benchmark(NAME, root).ids("test")[0]
    done = call(root, "inspect", video, "--run", "meid")
    assert done.exit_code == 0, done.output
    written = meid.folder / f"inspect-{video}.png"
    assert written.read_bytes().startswith(b"\x89PNG")
    from meid_bench.results.report import write_report

    write_report(tmp_path / "r.html", [NAME], root)
    assert f"{video}, {meid.folder.name}" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_inspect_without_the_file_says_why_and_shows_the_rest(root, tmp_path):
    output = tmp_path / "x.png"
    done = call(
        root, "inspect", "v02", "--run", "plain", "--video-dir", tmp_path, "--output", output
    )
    assert done.exit_code == 0, done.output
    assert "has no file or folder of jpgs of v02" in done.stderr
    assert output.stat().st_size > 10_000


@pytest.mark.parametrize("video", ["v99", "../v00"])
def test_inspect_refuses_an_unknown_video(root, video):
    done = call(root, "inspect", video, "--run", "meid")
    assert done.exit_code == 1
    assert "There is no video of small" in done.output


def test_features_that_were_made_anew_are_refused(root, meid):
    other = replace(meid, model=replace(meid.model, features="0" * 64))
    with pytest.raises(MeidBenchError, match="was trained on 00000000"):
        inspect_video(other, "v02", root)


def test_a_video_without_times_is_drawn_by_frame_numbers(root, meid, tmp_path):
    found = inspect_video(meid, "v02", root)
    unknown = replace(found, times=np.arange(FRAMES, dtype=float), in_seconds=False, frames=[])
    save_picture(unknown, tmp_path / "x.png")
    assert (tmp_path / "x.png").is_file()


def test_folders_of_jpgs_are_predicted_and_inspected(root, meid, tmp_path):
    benchmark = make_benchmark(tmp_path, 12)
    rgb = tmp_path / "rgb"
    for number, name in enumerate(benchmark.all_ids()):
        write_jpgs(rgb / name, 6 + number % 3, (32, 32))
    account = run_small(benchmark, tmp_path, encoder="resnet18", weights="random:0", video_dir=rgb)
    run(plan_run(Request("plain", NAME, settings=SETTINGS), tmp_path), CPU[0])
    trained = load_run("plain", root=tmp_path)
    stored = FeatureStore(account.folder).read(["v02"])[0]
    np.testing.assert_array_equal(trained.encode(rgb / "v02"), stored)
    assert trained.differences == ()
    with pytest.raises(DataError, match=r"v02\.mp4 is no folder of jpgs"):
        trained.predict(root / "videos" / "v02.mp4")
    with pytest.raises(DataError, match="v02 is a folder, not a video file"):
        meid.predict(rgb / "v02")
    found = inspect_video(trained, "v02", tmp_path, rgb)
    assert [moment for moment, _ in found.frames] == [number / 24 for number in range(8)]
    (rgb / "v02" / "v02-000003.jpg").unlink()
    found = inspect_video(trained, "v02", tmp_path, rgb)
    assert "v02-000003.jpg is missing" in found.without_frames
