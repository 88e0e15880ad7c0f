"""The demo: a made-up release that is what it says, and a board over it that means something."""

import io
import zipfile
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from meid_bench.benchmark.benchmark import load_benchmark
from meid_bench.benchmark.charades import read_annotations, read_classes
from meid_bench.benchmark.longtail import Statistics
from meid_bench.benchmark.miniature import (
    SECONDS,
    SPLIT_SIZES,
    TRAIN_COUNTS,
    make_release,
    planned_clips,
)
from meid_bench.benchmark.scenery import (
    ACTIONS,
    FRAME_RATE,
    MOTIONS,
    SLOTS,
    Happening,
    encode,
    render,
)
from meid_bench.cli.main import cli
from meid_bench.demo import RELEASE
from meid_bench.errors import SettingError
from meid_bench.files import runs_dir
from meid_bench.results.metrics import average_precision
from meid_bench.results.record import RECORD, load_scores, read_records

OFFICIAL = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"


def decoded(file: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(file)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_the_seed_is_everything() -> None:
    assert planned_clips(0) == planned_clips(0)
    assert planned_clips(0) != planned_clips(1)
    clip = planned_clips(0)["train"][0]
    films = [
        encode(render(clip.room, clip.shirt, clip.happenings, 1.0, np.random.default_rng(0)))
        for _ in range(2)
    ]
    assert films[0] == films[1]


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_in_two_splits(seed: int) -> None:
    clips = planned_clips(seed)
    for noun in ("id", "subject", "script"):
        seen = [{getattr(clip, noun) for clip in of_split} for of_split in clips.values()]
        assert len(set.union(*seen)) == sum(map(len, seen))


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_as_planned(seed: int) -> None:
    for split, clips in planned_clips(seed).items():
        counts = Counter(label for clip in clips for label in set(clip.labels))
        found = [counts[label] for label in range(len(ACTIONS))]
        assert min(found) >= SPLIT_SIZES[split].least
        assert sum(bool(clip.labels) for clip in clips) == SPLIT_SIZES[split].videos
        if split == "train":
            assert tuple(found) == TRAIN_COUNTS


def test_actions_last_long_enough_to_be_seen() -> None:
    for clip in (clip for of_split in planned_clips(0).values() for clip in of_split):
        for happening in clip.happenings:
            assert 0 <= happening.start < happening.start + 0.7 <= happening.end <= SECONDS
        places = {
            (label, what.slot) for label, what in zip(clip.labels, clip.happenings, strict=True)
        }
        assert len({slot for _, slot in places}) == len(places) == len(set(clip.labels))


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.phrase)
def test_what_shows_follows_the_annotation(action) -> None:
    happening = Happening(action, slot=2, start=1.0, end=3.0)
    noise = np.random.default_rng(0)
    bare = decoded(encode(render("Garage", (90, 90, 90), [], SECONDS, noise)))
    noise = np.random.default_rng(0)
    shown = decoded(encode(render("Garage", (90, 90, 90), [happening], SECONDS, noise)))
    assert len(shown) == len(bare) == SECONDS * FRAME_RATE
    x, y = SLOTS[2]
    around = np.s_[y - 36 : y + 36, x - 36 : x + 36]
    for index, (with_it, without) in enumerate(zip(shown, bare, strict=True)):
        time = index / FRAME_RATE
        differs = np.abs(with_it[around].astype(int) - without[around]).mean() > 5
        visible = MOTIONS[action.motion](time, (time - 1) / 2)[2] > 0
        assert differs == (1 <= time < 3 and visible)


def test_the_files_are_in_the_official_formats(demo_root: Path, tmp_path: Path) -> None:
    release = demo_root / RELEASE
    with zipfile.ZipFile(release / "Charades.zip") as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "Charades"
    assert (folder / "Charades_v1_train.csv").read_text().splitlines()[0] == OFFICIAL
    classes = read_classes(folder / "Charades_v1_classes.txt")
    assert classes == tuple(action.phrase for action in ACTIONS)
    clips = {clip.id: clip for of_split in planned_clips(0).values() for clip in of_split}
    for file in ("train", "test"):
        for video in read_annotations(folder / f"Charades_v1_{file}.csv", len(classes)):
            clip = clips.pop(video.id)
            assert video.labels == tuple(sorted(set(clip.labels)))
            assert (video.subject, video.script, video.length) == (
                clip.subject,
                clip.script,
                SECONDS,
            )
            ends = {(interval.label, interval.end) for interval in video.intervals}
            whats = zip(clip.labels, clip.happenings, strict=True)
            assert ends == {(label, what.end) for label, what in whats}
    assert not clips


def test_every_row_has_its_video(demo_root: Path) -> None:
    with zipfile.ZipFile(demo_root / RELEASE / "Charades_v1_480.zip") as archive:
        names = set(archive.namelist())
        assert len(decoded(archive.read(min(names)))) == SECONDS * FRAME_RATE
    clips = [clip for of_split in planned_clips(0).values() for clip in of_split]
    assert names == {f"Charades_v1_480/{clip.id}.mp4" for clip in clips}


def test_an_interrupted_release_is_made_again_and_a_foreign_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meid_bench.benchmark.miniature.encode", lambda frames: b"film")
    make_release(tmp_path, seed=0)
    (tmp_path / "spec.json").unlink()
    (tmp_path / "test.txt").write_text("half a li", encoding="utf-8")
    make_release(tmp_path, seed=0)
    assert len((tmp_path / "test.txt").read_text().split()) == SPLIT_SIZES["test"].videos
    with pytest.raises(SettingError, match=r"seed 0.*seed 1.*another folder"):
        make_release(tmp_path, seed=1)


def test_the_benchmark_is_long_tailed(demo_root: Path) -> None:
    row = load_benchmark("demo", demo_root).statistics()
    tested = [max(SPLIT_SIZES["test"].least, count * 40 // 72) for count in TRAIN_COUNTS]
    labels = (sum(TRAIN_COUNTS) + sum(tested)) / (72 + 40)
    expected = Statistics(14, 5, 4, 5, 72, 20, 40, labels, 40 / 3)
    assert row == expected


def test_the_board_means_something(demo_root: Path) -> None:
    benchmark = load_benchmark("demo", demo_root)
    labels = benchmark.labels("test")
    records, problems = read_records(runs_dir(demo_root, "demo"))
    assert not problems
    assert Counter(record.method for record in records.values()) == {"plain": 2, "meid": 2}
    draw = np.random.default_rng(0)
    for folder, record in records.items():
        ids, scores = load_scores(folder)
        assert ids == benchmark.ids("test")
        reached = float(average_precision(scores, labels).mean())
        assert reached == pytest.approx(record.test.overall)
        shuffled = [average_precision(draw.permutation(scores), labels).mean() for _ in range(100)]
        if record.method == "plain":
            assert reached >= 1.5 * np.mean(shuffled)
        else:
            assert reached > np.mean(shuffled)


def test_it_says_what_it_did_and_what_it_is_not(demo_root: Path) -> None:
    output = (demo_root / "output.txt").read_text(encoding="utf-8")
    for command in ("build", "extract", "run", "leaderboard"):
        assert f"\n$ meid-bench {command} " in output
    assert "untrained" in output
    assert "made up" in output
    assert str(demo_root) in output.splitlines()[-1]


def test_run_again_it_does_nothing_twice(demo_root: Path) -> None:
    watched = [*demo_root.rglob(RECORD), *demo_root.rglob("*.h5"), *demo_root.rglob("*.mp4")]
    before = {path: path.stat().st_mtime_ns for path in watched}
    assert len(before) > 4 + 132
    result = CliRunner().invoke(cli, ["demo", "--dir", str(demo_root)], catch_exceptions=False)
    assert result.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_seed_needs_another_folder(demo_root: Path) -> None:
    result = CliRunner().invoke(cli, ["demo", "--dir", str(demo_root), "--seed", "7"])
    assert result.exit_code == 1
    assert "choose another folder" in result.output
