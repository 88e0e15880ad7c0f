"""`python -m tools.recipe`: writes lists, checks them, and says where the recipe fails."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from meid_bench.benchmark.benchmark import SPLITS
from tests.tools.recipe.test_split import CLASSES, POOLS, SMALL
from tools.recipe import __main__ as command


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The official files of a small release, and a folder for its lists."""
    official, folder = tmp_path / "official", tmp_path / "small"
    official.mkdir()
    folder.mkdir()
    for split, videos in zip(("train", "test"), POOLS, strict=True):
        with (official / f"Charades_v1_{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "subject", "script", "actions", "length"])
            for video in videos:
                actions = ";".join(f"c{label:03d} 0 1" for label in video.labels)
                writer.writerow([video.id, video.subject, video.script, actions, 5])
    classes = "".join(f"c{n:03d} Thing\n" for n in range(CLASSES))
    (official / "Charades_v1_classes.txt").write_text(classes)
    monkeypatch.setattr(command, "load_targets", lambda name: SMALL)
    return official, folder


def call(official: Path, folder: Path, *arguments: str):
    arguments = ("charadeslt-sd", str(official), "--folder", str(folder), *arguments)
    return CliRunner().invoke(command.main, arguments)


def test_lists_are_written_and_checked(small):
    official, folder = small
    written = call(official, folder)
    assert written.exit_code == 0, written.output
    assert "120 / 25 / 40 videos" in written.output and "written to" in written.output
    for split in SPLITS:
        ids = (folder / f"{split}.txt").read_text().split()
        assert len(ids) == SMALL.sizes[split] and ids == sorted(ids)
    checked = call(official, folder, "--check")
    assert checked.exit_code == 0 and "as packaged" in checked.output


def test_a_changed_list_is_found_and_left_as_it_is(small):
    official, folder = small
    call(official, folder)
    path = folder / "val.txt"
    changed = "a0\n" + path.read_text().partition("\n")[2]
    path.write_text(changed)
    checked = call(official, folder, "--check")
    assert checked.exit_code == 1
    assert f"{path} differs from what the recipe gives; first: a0" in checked.output
    assert path.read_text() == changed


def test_a_recipe_that_fails_says_by_how_much_and_writes_nothing(small, monkeypatch):
    official, folder = small
    targets = replace(SMALL, labels_per_training_video="3.9")
    monkeypatch.setattr(command, "load_targets", lambda name: targets)
    failed = call(official, folder)
    assert failed.exit_code == 1
    assert "labels per training video is " in failed.output and "wanted 3.9" in failed.output
    assert not list(folder.iterdir())


def test_bad_arguments_are_a_sentence(small, monkeypatch):
    official, folder = small
    (official / "Charades_v1_test.csv").unlink()
    missing = call(official, folder)
    assert missing.exit_code == 1 and "holds no Charades_v1_test.csv" in missing.output
    monkeypatch.undo()
    unknown = CliRunner().invoke(command.main, ["charadeslt-ds", str(official)])
    assert unknown.exit_code == 1 and "did you mean 'charadeslt-sd'?" in unknown.output
