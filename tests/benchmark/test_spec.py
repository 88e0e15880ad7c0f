"""A spec.json is read strictly: what it does not say, or says wrongly, is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meid_bench.benchmark.spec import SPEC_FILE, filename, find_spec, load_spec, packaged_specs
from meid_bench.errors import DataError, SettingError
from tests.made_release import Release, made_release


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return made_release(tmp_path)


@pytest.mark.parametrize("name", packaged_specs())
def test_every_packaged_specification_is_whole(name: str) -> None:
    folder = find_spec(name)
    spec = load_spec(folder)
    assert spec.name == name == folder.name
    assert (spec.expected is None) == name.endswith("-sd") == (spec.published is None)
    assert spec.fingerprint is not None
    assert spec.citation
    assert spec.licence
    for path in (spec.lists or {}).values():
        assert (folder / path).is_file()


def test_a_folder_is_as_good_as_a_name(release: Release) -> None:
    spec = load_spec(find_spec(release.spec))
    assert find_spec(release.spec / SPEC_FILE) == release.spec
    assert spec.sources.videos is not None
    assert spec.sources.videos.member == "Made_480/{id}.mp4"
    assert filename(spec.sources.annotations.url) == "Made.zip"


def test_the_file_behind_an_address() -> None:
    assert filename("https://host/a/b%20c.zip?key=1#x") == "b c.zip"
    assert filename("Made.zip") == "Made.zip"
    assert filename("https://host/") == ""


def put(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("title"), "missing key 'title'"),
        (put("titel", value="x"), "unknown key 'titel'"),
        (put("title", value="\ud800"), "title is '\\ud800', which no file can hold"),
        (put("name", value="../x"), "'../x' cannot be a name"),
        (put("name", value=3), "name must be str, not 3"),
        (put("format", value="avi"), "format must be one of charades, charadesego, videolt, csv"),
        (put("fingerprint", value="abc"), "fingerprint 'abc' must be 64 hexadecimal digits"),
        (put("frames", value=0), "frames must be at least 1, not 0"),
        (put("frames", value=True), "frames must be int"),
        (put("training_frames", value=5), "training_frames must be 1 to 4"),
        (put("bins", "tail_max", value=9), "bins need 0 <= tail_max <= medium_max"),
        (put("lists", value={"train": "x"}), "lists must name train, val, test"),
        (put("sources", "videos", "sha256", value="abc"), "must be 64 hexadecimal digits"),
        (put("sources", "videos", "member", value="x.mp4"), "must hold '{id}' once"),
        (put("sources", "videos", "member", value="{id}"), "must end as a video does"),
        (put("sources", "videos", "url", value="http://x/.."), "must end in a file's name"),
        (put("sources", "videos", "archive", value="a/b"), "'a/b' cannot be a name"),
        (put("sources", "annotations", "url", value="http://x/"), "must end in a file's name"),
        (put("sources", "annotations", "members", "train", value={}), "members.train must be str"),
    ],
)
def test_what_is_wrong_is_named(
    change: Callable[[dict[str, Any]], None], message: str, release: Release
) -> None:
    data = json.loads((release.spec / SPEC_FILE).read_text())
    change(data)
    (release.spec / SPEC_FILE).write_text(json.dumps(data))
    with pytest.raises(DataError) as raised:
        load_spec(release.spec)
    assert message in str(raised.value)
    assert str(release.spec / SPEC_FILE) in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_what_is_no_specification_is_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / SPEC_FILE).write_text(text)
    with pytest.raises(DataError, match=r"spec\.json"):
        load_spec(tmp_path)


def test_an_unknown_name_or_an_empty_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="did you mean 'charadesegolt'"):
        find_spec("charadesegoLT")
    with pytest.raises(SettingError, match=r"holds no spec\.json"):
        find_spec(tmp_path)


def test_a_specification_may_say_only_what_differs_from_its_neighbour(release: Release) -> None:
    other = release.spec.parent / "other"
    other.mkdir()
    change = {"base": release.spec.name, "name": "other", "bins": {"medium_max": 77}}
    (other / SPEC_FILE).write_text(json.dumps(change))
    base, spec = load_spec(release.spec), load_spec(other)
    assert (spec.name, spec.bins.medium_max) == ("other", 77)
    assert (spec.bins.tail_max, spec.sources) == (base.bins.tail_max, base.sources)


@pytest.mark.parametrize(
    ("base", "message"),
    [("absent", "cannot be read"), ("../spec", "cannot be a name"), ("other", "unknown key")],
)
def test_a_base_that_is_no_neighbour_is_named(base: str, message: str, release: Release) -> None:
    other = release.spec.parent / "other"
    other.mkdir()
    (other / SPEC_FILE).write_text(json.dumps({"base": base, "name": "other"}))
    with pytest.raises(DataError, match=message):
        load_spec(other)
