"""Which file of a folder is a video."""

import doctest
from pathlib import Path

import pytest

from meid_bench.benchmark import video_folder
from meid_bench.benchmark.video_folder import find_videos, path_of, video_id
from meid_bench.errors import DataError


def test_videos_are_found_by_id_whatever_their_suffix(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.MKV", "c.txt", "d", "e.f.webm", "g.json", "g.mov", "h.avi", "h.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "i.mp4").mkdir()
    found = find_videos(tmp_path, ["h", "a", "b", "c", "d", "e.f", "e", "g", "i"])
    assert {name: path.name for name, path in found.items()} == {
        "h": "h.mp4",
        "a": "a.mp4",
        "b": "b.MKV",
        "e.f": "e.f.webm",
        "g": "g.mov",
    }
    assert list(found) == ["h", "a", "b", "e.f", "g"]


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert find_videos(tmp_path / "no", ["a"]) == {}
    (tmp_path / "file").touch()
    assert find_videos(tmp_path / "file", ["a"]) == {}


def test_an_id_may_be_a_whole_name(tmp_path: Path) -> None:
    for name in ("c.mp4", "c.avi", "d.mp4", "d.mp4.avi"):
        (tmp_path / name).touch()
    wanted = {"c": "c.mp4", "c.avi": "c.avi", "d.mp4": "d.mp4", "d": "d.mp4"}
    found = find_videos(tmp_path, [*wanted, "a"])
    assert found == {name: tmp_path / file for name, file in wanted.items()}


def test_the_example_in_the_docstring_is_true() -> None:
    assert doctest.testmod(video_folder).failed == 0


def test_a_path_becomes_an_id_that_finds_its_file(tmp_path: Path) -> None:
    names = ["clip.mp4", "monday/clip.MKV", "monday/am/clip.mov", "a 1%/b.2.mp4", "monday am/x.avi"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    ids = [video_id(name) for name in names]
    assert len(set(ids)) == len(ids) and not any("/" in name for name in ids)
    assert find_videos(tmp_path, ids) == {
        name: tmp_path / file for name, file in zip(ids, names, strict=True)
    }
    assert path_of(ids[2]) == "monday/am/clip"
    assert video_id("./monday//clip.mkv") == video_id("monday/clip") == ids[1]


@pytest.mark.parametrize(
    "name",
    [
        *("", "/a.mp4", "../a.mp4", "monday/../a.mp4", ".a.mp4", ".hidden/a.mp4", "a%2Fb"),
        *("a%2fb.mp4", "monday\\a.mp4", "a\tb", "x" * 201),
    ],
)
def test_a_path_that_cannot_be_an_id_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="video"):
        video_id(name)


def test_hidden_folders_and_links_out_are_not_followed(tmp_path: Path) -> None:
    for name in ("videos/monday", "videos/.trash", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.mp4").touch()
    folder = tmp_path / "videos"
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    (folder / "inside").symlink_to("monday")
    ids = [f"{name}%2Fa" for name in ("monday", "inside", "out", ".trash", "..", "", "monday%2F..")]
    ids += ["%2Fa", "monday%2F", "monday%2F%2Fa", "monday%2F.%2Fa"]
    found = find_videos(folder, ids)
    assert list(found) == ["monday%2Fa", "inside%2Fa"]
    (tmp_path / "link").symlink_to(folder)
    assert list(find_videos(tmp_path / "link", ids)) == list(found)


def test_folders_of_jpgs_lie_in_sub_folders_too(tmp_path: Path) -> None:
    for day in ("monday", "tuesday"):
        (tmp_path / day / "clip").mkdir(parents=True)
        (tmp_path / day / "clip" / "clip-000001.jpg").touch()
    ids = ["monday%2Fclip", "tuesday%2Fclip"]
    assert find_videos(tmp_path, ids) == {name: tmp_path / path_of(name) for name in ids}
    (tmp_path / "tuesday" / "other.mp4").touch()
    with pytest.raises(DataError, match="folders of jpgs, such as clip"):
        find_videos(tmp_path, [*ids, "tuesday%2Fother"])
