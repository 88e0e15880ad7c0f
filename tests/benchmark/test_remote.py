"""Archives on a server, read member by member."""

import json
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from meid_bench.benchmark.archives import remote, tarindex
from meid_bench.benchmark.archives.opener import RemoteArchive
from meid_bench.benchmark.archives.rangefile import RangeFile
from meid_bench.benchmark.archives.remote import ChangedError, NoRangesError, Remote
from meid_bench.errors import DataError
from tests.file_server import FileServer, Shelf
from tests.made_release import write_tar, write_zip

FILES = {f"a/{number:03d}.mp4": bytes([number]) * (1000 + 997 * number) for number in range(60)}


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shelf:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    write_zip(tmp_path / "x.zip", FILES)
    write_tar(tmp_path / "x.tar", FILES)
    names = ("x.zip", "x.tar")
    return Shelf(
        {name: (tmp_path / name).read_bytes() for name in names}, dict.fromkeys(names, '"1"')
    )


@pytest.fixture
def url(shelf: Shelf) -> Iterator[str]:
    with FileServer(shelf) as server:
        yield server.url


def test_a_range_file_reads_like_a_file(url: str, shelf: Shelf) -> None:
    body = shelf.files["x.zip"]
    assert isinstance(body, bytes)
    with RangeFile(Remote(f"{url}/x.zip"), ahead=100) as file:
        for start, size in (
            (0, 10),
            (10, 20),
            (5, 5),
            (50_000, 7),
            (50_300, 9),
            (len(body) - 3, 9),
        ):
            assert file.seek(start) == start
            assert file.read(size) == body[start : start + size]
            assert file.tell() == min(start + size, len(body))
        file.seek(-4, 2)
        assert file.read() == body[-4:]
        assert file.read() == b""


def test_what_is_expected_is_asked_for_at_once(url: str, shelf: Shelf) -> None:
    file = RangeFile(Remote(f"{url}/x.zip"))
    file.expect(100, 900)
    file.seek(100)
    for _ in range(8):
        file.read(100)
    assert shelf.log[1:] == ["bytes=100-899"]


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
@pytest.mark.parametrize("cut", [0, 2, 3])
def test_members_come_over_the_network_as_they_are(
    name: str, cut: int, url: str, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.cut = cut
    wanted = list(FILES)[3::7]
    opened = RemoteArchive(Remote(f"{url}/{name}"), tmp_path / "index.json")
    with opened() as archive:
        assert list(archive.entries) == list(FILES)
        for path in wanted:
            archive.copy(path, tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == FILES[path]


def test_a_member_costs_one_request_and_the_directory_is_read_once(
    url: str, shelf: Shelf, tmp_path: Path
) -> None:
    far = Remote(f"{url}/x.zip")
    opened = RemoteArchive(far, tmp_path / "index.json")
    before, at_first = far.requests, far.fetched
    wanted = list(FILES)[5:50:9]
    for path in wanted:
        with opened() as archive:
            archive.copy(path, tmp_path / "out")
    assert far.requests - before == len(wanted)
    needed = sum(len(FILES[path]) for path in wanted)
    assert far.fetched - at_first < needed + 100 * len(wanted)


def test_a_tar_is_walked_once_and_cheaply(url: str, tmp_path: Path, shelf: Shelf) -> None:
    far = Remote(f"{url}/x.tar")
    RemoteArchive(far, tmp_path / "index.json")
    assert far.requests <= len(FILES) + 4
    assert far.fetched < len(FILES) * 2048
    again = Remote(f"{url}/x.tar")
    assert list(RemoteArchive(again, tmp_path / "index.json")().entries) == list(FILES)
    assert again.requests == 1  # to see that it is the same file still
    shelf.etags["x.tar"] = '"2"'
    other = Remote(f"{url}/x.tar")
    RemoteArchive(other, tmp_path / "index.json")
    assert other.requests > len(FILES)


def test_an_interrupted_walk_goes_on(
    url: str, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarindex, "SAVE_EVERY", 10)

    def interrupt(number: int) -> None:
        if number == 40:
            far.stop()

    shelf.on_request = interrupt
    far = Remote(f"{url}/x.tar")
    with pytest.raises(DataError, match="stopped"):
        RemoteArchive(far, tmp_path / "index.json")
    again = Remote(f"{url}/x.tar")
    opened = RemoteArchive(again, tmp_path / "index.json")
    assert again.requests <= len(FILES) - 30 + 4
    with opened() as archive:
        assert list(archive.entries) == list(FILES)
        archive.copy("a/059.mp4", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == FILES["a/059.mp4"]


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Walk even a small tar from several places at once."""
    monkeypatch.setattr(tarindex, "WORTHWHILE", 0)


@pytest.mark.usefixtures("several")
def test_several_walks_find_what_one_finds(url: str, shelf: Shelf, tmp_path: Path) -> None:
    far = Remote(f"{url}/x.tar")
    assert list(RemoteArchive(far, tmp_path / "index.json")().entries) == list(FILES)
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["stretches"] == []
    assert len(index["files"]) == len(FILES)
    far = Remote(f"{url}/x.tar")
    RemoteArchive(far, tmp_path / "index.json")
    assert far.requests == 1


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("after", [12, 25, 40, 55])
def test_several_interrupted_walks_go_on(
    after: int, url: str, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarindex, "SAVE_EVERY", 3)
    shelf.on_request = lambda number: far.stop() if number == after else None
    far = Remote(f"{url}/x.tar")
    with pytest.raises(DataError, match="stopped"):
        RemoteArchive(far, tmp_path / "index.json")
    again = Remote(f"{url}/x.tar")
    opened = RemoteArchive(again, tmp_path / "index.json")
    assert list(opened().entries) == list(FILES)
    assert again.requests < len(FILES) + 20 - (after - 25)


@pytest.mark.usefixtures("several")
def test_a_tar_inside_a_tar_does_not_lead_astray(url: str, shelf: Shelf, tmp_path: Path) -> None:
    # Its headers are as good as real ones, and are found first: the walks do not meet.
    write_tar(tmp_path / "inner.tar", FILES)
    inner = {f"b/{number}.tar": (tmp_path / "inner.tar").read_bytes() for number in range(3)}
    write_tar(tmp_path / "outer.tar", inner)
    shelf.files["x.tar"] = (tmp_path / "outer.tar").read_bytes()
    opened = RemoteArchive(Remote(f"{url}/x.tar"), tmp_path / "index.json")
    with opened() as archive:
        assert list(archive.entries) == list(inner)
        archive.copy("b/1.tar", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == inner["b/1.tar"]


@pytest.mark.usefixtures("several")
def test_a_cut_tar_is_a_sentence_to_several_walks(url: str, shelf: Shelf, tmp_path: Path) -> None:
    body = shelf.files["x.tar"]
    assert isinstance(body, bytes)
    for end in (len(body) * 2 // 3, len(body.rstrip(b"\0")) - 100):
        shelf.files["x.tar"] = body[:end]
        with pytest.raises(DataError, match="is cut, or no tar file"):
            RemoteArchive(Remote(f"{url}/x.tar"), tmp_path / "index.json")


def test_a_damaged_index_is_made_again(url: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"version": 1')
    opened = RemoteArchive(Remote(f"{url}/x.tar"), tmp_path / "index.json")
    assert list(opened().entries) == list(FILES)


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_a_cut_archive_far_away_is_a_sentence(
    name: str, url: str, shelf: Shelf, tmp_path: Path
) -> None:
    body = shelf.files[name]
    assert isinstance(body, bytes)
    shelf.files[name] = body[: len(body) // 2]
    with pytest.raises(DataError, match=r"http.* is cut, or no (zip|tar) file"):
        RemoteArchive(Remote(f"{url}/{name}"), tmp_path / "index.json")


def test_a_large_zip_is_64_bit(
    url: str, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 5000)  # what is 4 GiB to a real zip
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, body in FILES.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(body)
    monkeypatch.undo()
    data = (tmp_path / "x.zip").read_bytes()
    assert b"PK\x06\x06" in data[-200:]  # the 64-bit end record
    # Where the 32-bit one has the directory's size and place, a real one has only ones.
    shelf.files["x.zip"] = data[:-10] + b"\xff" * 8 + data[-2:]
    opened = RemoteArchive(Remote(f"{url}/x.zip"), tmp_path / "index.json")
    with opened() as archive_there:
        for name in ("a/000.mp4", "a/030.mp4", "a/059.mp4"):
            archive_there.copy(name, tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == FILES[name]


def test_a_server_without_ranges_says_so(url: str, shelf: Shelf, tmp_path: Path) -> None:
    shelf.ranges = False
    with pytest.raises(NoRangesError, match=r"x\.zip: the server serves no byte ranges"):
        RemoteArchive(Remote(f"{url}/x.zip"), tmp_path / "index.json")


def test_another_version_is_never_mixed_in(url: str, shelf: Shelf, tmp_path: Path) -> None:
    opened = RemoteArchive(Remote(f"{url}/x.zip"), tmp_path / "index.json")
    shelf.etags["x.zip"] = '"2"'
    with opened() as archive, pytest.raises(ChangedError, match="changed on the server"):
        archive.copy("a/030.mp4", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


@pytest.mark.usefixtures("no_names")
def test_a_host_that_cannot_be_found_fails_at_once() -> None:
    file = Remote("http://server.example/x.zip")
    with pytest.raises(DataError, match=r"x\.zip: its host cannot be found \(.*--source$"):
        file.version()
    assert file.requests == 1


@pytest.mark.usefixtures("no_names")
def test_names_that_vanish_in_mid_download_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(remote, "PATIENCE", 3)
    file = Remote("http://server.example/x.zip")
    file.count(1000)
    with pytest.raises(DataError, match="failed 4 times in a row"):
        file.version()
    assert file.requests == 4
