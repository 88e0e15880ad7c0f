"""Official files become a benchmark: every way they may come, and every way they may be wrong."""

import hashlib
import json
import logging
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

from meid_bench import files
from meid_bench.benchmark.archives import remote, remote_zip, unpack
from meid_bench.benchmark.benchmark import load_benchmark
from meid_bench.benchmark.build import BuildResult, build
from meid_bench.benchmark.build_manifest import load_build_manifest
from meid_bench.benchmark.video_folder import find_videos
from meid_bench.cli.main import cli
from meid_bench.errors import DataError, SettingError
from tests.file_server import FileServer, Shelf
from tests.made_release import Release, made_release, write_tar, write_zip


@dataclass
class World:
    """A made-up release on a server, and a data root for it."""

    release: Release
    shelf: Shelf
    root: Path
    suffix: str

    def build(self, **settings: Any) -> BuildResult:
        return build(self.release.spec, self.root, **settings)

    @property
    def archive(self) -> str:
        return f"Made_480{self.suffix}"

    def check(self, listed_only: bool = True) -> None:
        """The listed videos, or all, are there, byte for byte; nothing else is."""
        folder = self.root / "videos" / "made_480"
        names = self.release.listed if listed_only else self.release.videos
        assert {path.stem: path.read_bytes() for path in folder.glob("*.mp4")} == {
            name: self.release.videos[name] for name in names
        }
        assert {path.name for path in folder.glob("[!.]*")} == {f"{name}.mp4" for name in names}

    def change(self, name: str, etag: str, **bodies: bytes) -> None:
        """Put another version of the videos' archive on the server."""
        self.release.videos.update(bodies)
        write = write_zip if self.suffix == ".zip" else write_tar
        path = self.release.source / name
        write(path, {f"Made_480/{key}.mp4": body for key, body in self.release.videos.items()})
        self.shelf.files[name], self.shelf.etags[name] = path.read_bytes(), etag


@pytest.fixture(params=[".zip", ".tar"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    # The made-up archive is so small that its last 64 KiB would be all of it.
    monkeypatch.setattr(remote_zip, "TAIL", 3000)
    shelf = Shelf({})
    with FileServer(shelf) as server:
        release = made_release(tmp_path, server.url, request.param)
        for path in release.source.iterdir():
            shelf.files[path.name] = path.read_bytes()
            shelf.etags[path.name] = '"1"'
        yield World(release, shelf, tmp_path / "root", request.param)


def edit(world: World, change: Callable[[dict[str, Any]], None]) -> None:
    path = world.release.spec / "spec.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def forget_sums(world: World) -> None:
    def change(data: dict[str, Any]) -> None:
        for source in data["sources"].values():
            source["bytes"] = source["sha256"] = None

    edit(world, change)


@pytest.fixture
def zip_world(world: World) -> World:
    """For what holds of members that are read one by one."""
    if world.suffix == ".tar":
        pytest.skip("a tar is fetched whole")
    return world


def test_the_listed_videos_are_there_and_the_manifest_says_from_what(world: World) -> None:
    result = world.build()
    world.check()
    assert load_benchmark("made", world.root).fingerprint == result.benchmark.fingerprint
    videos = result.manifest.videos
    assert videos is not None
    assert (videos.folder, videos.found, videos.missing) == ("videos/made_480", 22, ())
    assert result.manifest.sources["videos"].etag == '"1"'
    assert load_build_manifest(world.root, "made") == result.manifest


def test_only_the_listed_videos_of_a_zip_cross_the_network(zip_world: World) -> None:
    transfer = zip_world.build().transfer
    assert transfer is not None
    assert transfer.requests <= 22 + 4
    needed = sum(len(zip_world.release.videos[name]) for name in zip_world.release.listed)
    assert transfer.fetched < needed + 3000 + 22 * 200


def test_a_tar_is_fetched_whole_by_one_request(world: World) -> None:
    if world.suffix == ".zip":
        pytest.skip("a zip is read member by member")
    result = world.build()
    world.check()
    assert result.transfer is None
    assert world.shelf.log == ["bytes=0-", "bytes=0-"]  # the annotations, the tar
    found = result.manifest.sources["videos"]
    body = (world.root / "downloads" / world.archive).read_bytes()
    assert (found.bytes, found.sha256) == (len(body), hashlib.sha256(body).hexdigest())


def test_another_sum_than_the_official_is_refused(world: World) -> None:
    edit(world, lambda data: data["sources"]["videos"].update(sha256="0" * 64))
    with pytest.raises(DataError, match=rf"sha256 [0-9a-f]{{64}}, {'0' * 64} was expected"):
        world.build(videos="all")
    assert not (world.root / "downloads" / world.archive).exists()
    assert not list((world.root / "videos").rglob("*.mp4"))


def test_a_second_build_fetches_nothing(world: World) -> None:
    first = world.build()
    world.shelf.log.clear()
    again = world.build()
    assert world.shelf.log == []
    assert again.manifest.videos == first.manifest.videos
    assert again.manifest.sources["videos"] == first.manifest.sources["videos"]


def test_what_is_missing_is_fetched_again(world: World) -> None:
    world.build()
    folder = world.root / "videos" / "made_480"
    (folder / "TEST01.mp4").unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.mp4")}
    world.build()
    world.check()
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_all_videos_are_taken_when_asked_for(world: World) -> None:
    world.build()
    result = world.build(videos="all")
    world.check(listed_only=False)
    assert result.manifest.videos is not None
    assert result.manifest.videos.found == 22
    world.shelf.log.clear()
    (world.root / "downloads" / world.archive).unlink()
    world.build(videos="all")
    assert world.shelf.log == []


def test_a_mirror_takes_the_place_of_the_address(world: World) -> None:
    base = json.loads((world.release.spec / "spec.json").read_text())["sources"]["videos"]["url"]
    edit(
        world,
        lambda data: data["sources"]["videos"].update(url=f"http://0.0.0.0:1/{world.archive}"),
    )
    edit(world, lambda data: data["sources"]["annotations"].update(url="http://0.0.0.0:1/Made.zip"))
    world.build(source=base.rsplit("/", 1)[0] + "/")
    world.check()


@pytest.mark.parametrize("cut", [2, 5])
def test_cut_connections_end_with_the_same_files(cut: int, world: World) -> None:
    world.shelf.cut = cut
    world.build()
    world.check()


def test_a_busy_server_is_asked_again(world: World) -> None:
    world.shelf.on_request = lambda number: setattr(world.shelf, "refuse", int(number % 3 == 0))
    world.build()
    world.check()


def test_a_server_without_ranges_gives_the_whole_archive(
    zip_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world = zip_world
    world.shelf.ranges = False
    with caplog.at_level(logging.WARNING):
        result = world.build()
    world.check()
    assert "serves no byte ranges; fetching the whole archive" in caplog.text
    assert result.transfer is None
    assert (world.root / "downloads" / world.archive).is_file()


def test_an_archive_that_changes_midway_is_begun_anew(
    zip_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world = zip_world
    forget_sums(world)

    def change(number: int) -> None:
        if number == 15:
            # One video is another one of the same length, one is longer; the rest is as it was.
            twin = world.release.videos["TEST00"][::-1]
            world.change(world.archive, '"2"', TEST00=twin, TRAIN00=b"longer" * 2000)

    world.shelf.on_request = change
    with caplog.at_level(logging.WARNING):
        result = world.build()
    world.check()
    assert "changed on the server" in caplog.text
    assert result.manifest.sources["videos"].etag == '"2"'


def test_an_archive_that_changed_between_two_builds_is_not_mixed(zip_world: World) -> None:
    world = zip_world
    forget_sums(world)
    world.build()
    folder = world.root / "videos" / "made_480"
    (folder / "VAL00.mp4").unlink()  # so that there is something to fetch
    world.change(world.archive, '"2"', TEST00=world.release.videos["TEST00"][::-1])
    world.build()
    world.check()


def test_an_archive_that_never_stays_the_same_is_given_up(zip_world: World) -> None:
    world = zip_world
    forget_sums(world)
    world.shelf.on_request = lambda number: world.shelf.etags.update({world.archive: f'"{number}"'})
    with pytest.raises(DataError, match="changed on the server"):
        world.build()
    world.shelf.on_request = None
    world.build()
    world.check()


def test_another_size_than_the_official_is_refused(world: World) -> None:
    world.change(world.archive, '"2"', TEST00=b"longer" * 5000)
    with pytest.raises(DataError, match=r"bytes, \d+ were expected; it is another file"):
        world.build()


@pytest.mark.parametrize("after", [1, 3, 9, 20])
def test_interrupted_at_any_moment_a_second_build_ends_with_the_same_files(
    after: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = 0
    update = unpack.Progress.update

    def interrupted(self: unpack.Progress, amount: int = 1, note: str | None = None) -> None:
        nonlocal fetched
        fetched += 1
        if fetched == after:
            raise KeyboardInterrupt
        update(self, amount, note)

    monkeypatch.setattr(unpack.Progress, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        world.build()
    monkeypatch.undo()
    assert load_build_manifest(world.root, "made") is None
    world.build()
    world.check()


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.999])
def test_a_cut_archive_is_a_sentence_and_a_whole_one_then_does(cut: float, world: World) -> None:
    forget_sums(world)
    whole = world.shelf.files[world.archive]
    assert isinstance(whole, bytes)
    world.shelf.files[world.archive] = whole[: int(len(whole) * cut)]
    world.shelf.etags[world.archive] = '"cut"'
    if world.suffix == ".tar" and cut == 0.999:
        world.shelf.files[world.archive] = whole[: len(whole.rstrip(b"\0")) - 10]
    with pytest.raises(DataError, match=rf"{world.archive} is cut, or no .*; remove it and fetch"):
        world.build()
    (world.root / "downloads" / world.archive).unlink(missing_ok=True)
    world.shelf.files[world.archive], world.shelf.etags[world.archive] = whole, '"1"'
    world.build()
    world.check()


def test_one_damaged_member_does_not_keep_the_others(zip_world: World) -> None:
    world = zip_world
    forget_sums(world)
    path = world.archive
    data = bytearray(world.shelf.files[path])  # type: ignore[arg-type]
    whole = bytes(data)
    data[data.index(world.release.videos["TEST03"]) + 50] ^= 1
    world.shelf.files[path] = bytes(data)
    with pytest.raises(DataError, match=r"member Made_480/TEST03\.mp4 is damaged \(Bad CRC-32"):
        world.build()
    assert len(find_videos(world.root / "videos" / "made_480", world.release.listed)) == 21
    assert load_build_manifest(world.root, "made") is None
    world.shelf.files[path] = whole
    world.build()
    world.check()


def test_no_space_is_said_before_it_begins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.build(videos="none")
    monkeypatch.setattr(files, "MARGIN", 1 << 60)
    with pytest.raises(DataError, match=r"No space for .* are needed, .* are free"):
        world.build()
    assert not list((world.root / "videos").rglob("*.mp4"))
    monkeypatch.undo()
    world.build()
    world.check()


def test_archives_in_a_folder_serve_as_well(world: World) -> None:
    result = world.build(source=world.release.source)
    world.check()
    assert world.shelf.log == []
    assert result.manifest.sources["videos"].path == str(world.release.source / world.archive)
    world.build(source=world.release.source, videos="all")
    world.check(listed_only=False)


@pytest.mark.parametrize("inside", ["", "Made_480"])
def test_unpacked_files_are_used_in_place(inside: str, world: World) -> None:
    source = unpacked(world, inside)
    result = world.build(source=source)
    assert not (world.root / "videos").exists()
    assert result.manifest.video_folder(world.root) == source / inside
    assert set(result.manifest.sources) == {"train", "test", "classes"}


def unpacked(world: World, inside: str = "Made_480") -> Path:
    source = world.root.parent / "unpacked"
    (source / inside).mkdir(parents=True)
    for name, body in world.release.videos.items():
        (source / inside / f"{name}.mp4").write_bytes(body)
    with zipfile.ZipFile(world.release.source / "Made.zip") as archive:
        for name in archive.namelist():
            (source / Path(name).name).write_bytes(archive.read(name))
    return source


def test_missing_videos_are_listed(world: World) -> None:
    source = unpacked(world)
    for name in ("TEST00", "VAL02"):
        (source / "Made_480" / f"{name}.mp4").unlink()
    result = world.build(source=source)
    assert result.manifest.videos is not None
    assert result.manifest.videos.missing == ("TEST00", "VAL02")
    assert result.manifest.videos.found == 20
    output = meid_bench(world, "build", str(world.release.spec), "--source", str(source))
    assert output.exit_code == 0
    assert "2 listed videos are not there: TEST00, VAL02; extract will report each" in output.output


@pytest.mark.parametrize("near", [True, False])
def test_a_listed_video_that_is_not_in_the_archive_is_counted(near: bool, world: World) -> None:
    forget_sums(world)
    for name in ("TEST00", "VAL02"):
        del world.release.videos[name]
    world.change(world.archive, '"2"')
    result = world.build(source=world.release.source if near else None)
    assert result.manifest.videos is not None
    assert result.manifest.videos.missing == ("TEST00", "VAL02")
    assert result.manifest.videos.found == 20


@pytest.mark.parametrize("near", [True, False])
def test_another_archive_is_a_sentence(near: bool, world: World) -> None:
    forget_sums(world)
    world.release.videos.clear()
    world.change(world.archive, '"2"', UNLISTED=b"x")
    with pytest.raises(DataError, match="holds none of the 22 listed videos, such as Made_480/TE"):
        world.build(source=world.release.source if near else None)
    assert load_build_manifest(world.root, "made") is None


def test_no_video_at_all_is_a_sentence(world: World) -> None:
    source = unpacked(world)
    for path in (source / "Made_480").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"neither Made_480\.\w+ nor any of the 22 listed videos"):
        world.build(source=source)
    result = world.build(source=source, videos="none")
    assert result.manifest.videos is None


def test_without_videos_nothing_but_annotations_is_fetched(world: World) -> None:
    result = world.build(videos="none")
    assert len(world.shelf.log) == 1
    assert result.manifest.videos is None
    # What an earlier build has unpacked is not forgotten.
    world.build()
    kept = world.build(videos="none").manifest.videos
    assert kept is not None
    assert kept.found == 22


def test_wrong_annotations_are_named_with_both_sums(world: World) -> None:
    edit(world, lambda data: data["sources"]["annotations"].update(sha256="0" * 64))
    with pytest.raises(DataError, match=f"sha256 [0-9a-f]{{64}}, {'0' * 64} was expected"):
        world.build(source=world.release.source)
    with pytest.raises(DataError, match=f"{'0' * 64} was expected"):
        world.build()
    assert not (world.root / "benchmarks").exists()


def test_a_folder_without_the_files_is_a_sentence(world: World, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"neither Made\.zip nor all of made_train\.csv"):
        world.build(source=tmp_path / "empty")


@pytest.mark.parametrize(
    "source", ["nowhere", "ftp://host/x", "http://", "http://[bad", "spec/spec.json"]
)
def test_a_source_that_is_none_is_a_sentence(source: str, world: World, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="neither a folder nor an address"):
        world.build(source=str(tmp_path / source) if "//" not in source else source)


def test_a_listed_video_that_is_not_annotated_is_named(world: World) -> None:
    with (world.release.spec / "val.txt").open("a") as file:
        file.write("NOBODY\n")
    with pytest.raises(DataError, match=r"files lack 1 of 23 listed videos, NOBODY; are"):
        world.build(source=world.release.source)


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_id_twice_in_the_lists_is_named(split: str, world: World) -> None:
    with (world.release.spec / f"{split}.txt").open("a") as file:
        file.write("VAL01\n")
    with pytest.raises(DataError, match=r"'VAL01' stands in .*val\.txt, line 2 already"):
        world.build(source=world.release.source)


def test_two_builds_at_once_are_kept_apart(world: World) -> None:
    world.root.mkdir()
    with FileLock(world.root / ".build.lock"), pytest.raises(DataError, match="Another build is"):
        world.build(videos="none")
    world.build(videos="none")


def test_a_manifest_of_other_labels_does_not_outlive_them(world: World) -> None:
    world.build(source=world.release.source)
    (world.release.spec / "val.txt").write_text("VAL00\n")
    for path in world.release.source.glob("Made_480*"):
        path.unlink()
    for path in (world.root / "videos").rglob("VAL00*"):
        path.unlink()
    world.build(source=world.release.source)
    manifest = load_build_manifest(world.root, "made")
    assert manifest is not None
    assert manifest.fingerprint == load_benchmark("made", world.root).fingerprint


def test_a_damaged_manifest_does_not_stand_in_the_way(world: World) -> None:
    world.build(videos="none")
    (world.root / "benchmarks" / "made" / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"is damaged.*build made again"):
        load_build_manifest(world.root, "made")
    world.build(videos="none")
    assert load_build_manifest(world.root, "made") is not None


def test_a_root_that_cannot_be_written_is_a_sentence(world: World) -> None:
    world.root.touch()
    arguments = ["build", str(world.release.spec), "--root", str(world.root / "below")]
    output = CliRunner().invoke(cli, arguments)
    assert output.exit_code == 1
    assert re.fullmatch(r"Error: .*root.*Not a directory.*\n", output.output)


def test_a_killed_build_is_gone_on_with(world: World) -> None:
    code = "from meid_bench.benchmark.archives import remote, remote_zip; "
    code += "remote_zip.TAIL, remote.BLOCK = 3000, 1000; "
    code += "from meid_bench.cli.main import cli; cli()"
    arguments = [sys.executable, "-c", code, "build", str(world.release.spec)]
    arguments += ["--root", str(world.root)]
    kill_at = 12 if world.suffix == ".zip" else 4

    def kill(number: int) -> None:
        if world.suffix == ".tar" and number > 1:
            world.shelf.cut = number  # its answer ends in the middle: a tar takes several, too
        if number == kill_at:
            process.kill()

    world.shelf.on_request = kill
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.wait(60) == -9
    assert load_build_manifest(world.root, "made") is None
    begun = (world.root / "downloads" / f"{world.archive}.part").is_file()
    assert begun == (world.suffix == ".tar")
    world.shelf.on_request, world.shelf.cut = None, 0
    world.shelf.log.clear()
    world.build()
    world.check()
    if begun:
        assert "bytes=0-" not in world.shelf.log  # it went on where it stopped
    assert not list(world.root.rglob("*.tmp"))
    assert not list(world.root.rglob("*.part*"))


def meid_bench(world: World, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--root", str(world.root)])


def test_the_command_prints_the_row_and_what_comes_next(world: World) -> None:
    output = meid_bench(world, "build", str(world.release.spec))
    assert output.exit_code == 0, output.output
    assert "Made up" in output.output
    assert "train videos" in output.output
    assert load_benchmark("made", world.root).fingerprint in output.output
    assert "videos: 22 of 22" in output.output
    assert ("less than the whole archive" in output.output) == (world.suffix == ".zip")
    assert "next: meid-bench extract --dataset made" in output.output


def test_an_unknown_dataset_gets_the_nearest_name(tmp_path: Path) -> None:
    output = CliRunner().invoke(cli, ["build", "charadslt", "--root", str(tmp_path / "root")])
    assert output.exit_code == 1
    assert "did you mean 'charadeslt'?" in output.output
    assert not (tmp_path / "root").exists()


def test_a_specification_without_lists_is_a_sentence(world: World) -> None:
    edit(world, lambda data: data.update(lists=None))
    with pytest.raises(DataError, match=r"spec\.json names no lists; format 'charades' needs them"):
        world.build(videos="none")
