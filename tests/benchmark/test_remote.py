"""Zips on a server, read member by member."""

import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from meid_bench.benchmark.archives import remote, remote_zip
from meid_bench.benchmark.archives.remote import ChangedError, NoRangesError, Remote
from meid_bench.benchmark.archives.remote_zip import RangeFile, RemoteZip
from meid_bench.errors import DataError
from tests.file_server import FileServer, Shelf
from tests.made_release import write_zip

FILES = {f"a/{number:03d}.mp4": bytes([number]) * (1000 + 997 * number) for number in range(60)}


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shelf:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    # The made-up zip is so small that its last 64 KiB would be much of it.
    monkeypatch.setattr(remote_zip, "TAIL", 3000)
    write_zip(tmp_path / "x.zip", FILES)
    return Shelf({"x.zip": (tmp_path / "x.zip").read_bytes()}, {"x.zip": '"1"'})


@pytest.fixture
def url(shelf: Shelf) -> Iterator[str]:
    with FileServer(shelf) as server:
        yield server.url


def test_a_range_file_reads_like_a_file(url: str, shelf: Shelf) -> None:
    body = shelf.files["x.zip"]
    assert isinstance(body, bytes)
    file = RangeFile(Remote(f"{url}/x.zip"))
    size = len(body)
    for start, length in ((size - 3, 9), (size - 5000, 20), (size - 4000, 4000), (size - 9000, 1)):
        assert file.seek(start) == start
        assert file.read(length) == body[start : start + length]
        assert file.tell() == min(start + length, size)
    requests = len(shelf.log)
    file.seek(-4, 2)
    assert file.read() == body[-4:]
    assert file.read() == b""
    file.begin_member(100, 900)
    file.seek(110)
    assert b"".join(file.read(100) for _ in range(9)) == body[110:900]
    assert shelf.log[requests:] == ["bytes=100-899"]


@pytest.mark.parametrize("cut", [0, 2, 3])
def test_members_come_over_the_network_as_they_are(
    cut: int, url: str, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.cut = cut
    with RemoteZip(Remote(f"{url}/x.zip")) as archive:
        assert list(archive.entries) == list(FILES)
        for path in list(FILES)[3::7]:
            archive.copy(path, tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == FILES[path]


def test_a_member_costs_one_request_and_the_directory_is_read_once(
    url: str, shelf: Shelf, tmp_path: Path
) -> None:
    far = Remote(f"{url}/x.zip")
    tail = RemoteZip(far).tail
    assert far.requests == 3  # the version, the end, the directory in front of it
    at_first = far.fetched
    wanted = list(FILES)[5:50:9]
    for path in wanted:
        with RemoteZip(far, tail) as archive:
            archive.copy(path, tmp_path / "out")
    assert far.requests - 3 == len(wanted)
    needed = sum(len(FILES[path]) for path in wanted)
    assert far.fetched - at_first < needed + 100 * len(wanted)


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_cut_zip_far_away_is_a_sentence(share: float, url: str, shelf: Shelf) -> None:
    body = shelf.files["x.zip"]
    assert isinstance(body, bytes)
    shelf.files["x.zip"] = body[: int(len(body) * share)]
    with pytest.raises(DataError, match=r"http.* is cut, or no zip file"):
        RemoteZip(Remote(f"{url}/x.zip"))


def test_a_directory_that_would_fill_the_memory_is_refused(
    url: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_zip, "DIRECTORY_LIMIT", 2900)
    with pytest.raises(DataError, match=r"is cut, or no zip file \(its directory would have"):
        RemoteZip(Remote(f"{url}/x.zip"))


def test_another_range_than_the_one_asked_for_is_not_believed(url: str, shelf: Shelf) -> None:
    far = Remote(f"{url}/x.zip")
    far.version()
    shelf.shift = 7
    with pytest.raises(NoRangesError, match="answers another range than byte 500 on"):
        far.stream(500).read(1)


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
    with RemoteZip(Remote(f"{url}/x.zip")) as archive_there:
        for name in ("a/000.mp4", "a/030.mp4", "a/059.mp4"):
            archive_there.copy(name, tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == FILES[name]


def test_a_server_without_ranges_says_so(url: str, shelf: Shelf) -> None:
    shelf.ranges = False
    with pytest.raises(NoRangesError, match=r"x\.zip: the server serves no byte ranges"):
        RemoteZip(Remote(f"{url}/x.zip"))


def test_another_version_is_never_mixed_in(url: str, shelf: Shelf, tmp_path: Path) -> None:
    archive = RemoteZip(Remote(f"{url}/x.zip"))
    shelf.etags["x.zip"] = '"2"'
    with archive, pytest.raises(ChangedError, match="changed on the server"):
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


@pytest.mark.parametrize(
    "host", ["exa_mple..com", "a" * 70 + ".example", "host:99999", "[::1", "*.example"]
)
@pytest.mark.usefixtures("no_names")
def test_an_address_that_can_never_work_fails_at_once(host: str) -> None:
    file = Remote(f"http://{host}/x.zip")
    with pytest.raises(DataError, match=r"x\.zip is no address that can be asked \(.*--source$"):
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
