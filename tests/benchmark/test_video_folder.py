"""Which file of a folder is a video."""

from pathlib import Path

from meid_bench.benchmark.video_folder import find_videos


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
