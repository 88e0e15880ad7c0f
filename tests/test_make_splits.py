"""tools/make_splits.py: writes lists, checks them, and says where a recipe fails."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from meid_bench.benchmark import SPLITS
from meid_bench.building.spec import find_spec
from tests.test_split import CLASSES, POOLS, SMALL
from tools.make_splits import main


@pytest.fixture
def small(tmp_path):
    """A specification of a small release, and the folder of its official files."""
    official, folder = tmp_path / "official", tmp_path / "small"
    official.mkdir()
    folder.mkdir()
    for split, videos in zip(("train", "test"), POOLS, strict=True):
        with (official / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "subject", "script", "actions", "length"])
            for video in videos:
                actions = ";".join(f"c{label:03d} 0 1" for label in video.labels)
                writer.writerow([video.id, video.subject, video.script, actions, 5])
    (official / "classes.txt").write_text("".join(f"c{n:03d} Thing\n" for n in range(CLASSES)))
    spec = json.loads((find_spec("charadeslt") / "spec.json").read_text())
    members = {role: {"path": f"made/{role}.csv", "sha256": None} for role in ("train", "test")}
    members["classes"] = {"path": "made/classes.txt", "sha256": None}
    spec["sources"]["annotations"]["members"] = members
    spec["recipe"] = {
        **{name: getattr(SMALL, name) for name in spec["recipe"]},
        "bins": {"tail_max": 10, "medium_max": 30},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    return official, folder


def call(official: Path, folder: Path, *arguments: str):
    return CliRunner().invoke(main, [str(official), "--name", str(folder), *arguments])


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


def test_a_recipe_that_fails_says_by_how_much_and_writes_nothing(small):
    official, folder = small
    spec = json.loads((folder / "spec.json").read_text())
    spec["recipe"]["labels_per_video"] = "3.9"
    (folder / "spec.json").write_text(json.dumps(spec))
    failed = call(official, folder)
    assert failed.exit_code == 1
    assert "labels per training video is " in failed.output and "wanted 3.9" in failed.output
    assert [path.name for path in folder.iterdir()] == ["spec.json"]


def test_bad_arguments_are_a_sentence(small, tmp_path):
    official, folder = small
    unknown = CliRunner().invoke(main, [str(official), "--name", "charadeslt-r9"])
    assert unknown.exit_code == 1 and "did you mean 'charadeslt" in unknown.output
    no_lists = CliRunner().invoke(main, [str(official), "--name", "videolt"])
    assert no_lists.exit_code == 1 and "videolt has no packaged lists" in no_lists.output
    (official / "test.csv").unlink()
    missing = call(official, folder)
    assert missing.exit_code == 1 and "holds no test.csv" in missing.output
