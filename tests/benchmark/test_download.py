"""Whole files: resumed, verified, and never mixed from two versions."""

import hashlib
import json
import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from meid_bench import files
from meid_bench.benchmark import download
from meid_bench.benchmark.archives import remote
from meid_bench.errors import DataError
from tests.file_server import FileServer, Shelf

BODY = random.Random(0).randbytes(300_000)
SUM = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    return Shelf({"data.zip": BODY}, {"data.zip": '"one"'})


@pytest.fixture
def url(shelf: Shelf) -> Iterator[str]:
    with FileServer(shelf) as server:
        yield f"{server.url}/data.zip"


def test_a_file_is_fetched_once_and_verified(url: str, shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "downloads" / "data.zip"
    found = download.download(url, path, len(BODY), SUM)
    assert path.read_bytes() == BODY
    assert (found.path, found.bytes, found.sha256, found.etag) == (url, len(BODY), SUM, '"one"')
    assert [file.name for file in path.parent.iterdir()] == ["data.zip"]
    download.download(url, path, len(BODY), SUM)
    assert len(shelf.log) == 1


def test_what_no_one_published_is_recorded_as_it_was_seen(url: str, tmp_path: Path) -> None:
    found = download.download(url, tmp_path / "data.zip")
    assert (found.bytes, found.sha256) == (len(BODY), SUM)


def test_a_cut_connection_is_continued(url: str, shelf: Shelf, tmp_path: Path) -> None:
    shelf.cut = 1  # every answer ends in its middle
    shelf.on_request = lambda number: setattr(shelf, "cut", int(number < 4))
    download.download(url, tmp_path / "data.zip", len(BODY), SUM)
    starts = [int(sent.removeprefix("bytes=").split("-")[0]) for sent in shelf.log]
    assert len(starts) == 4
    assert starts == sorted(set(starts))  # each goes on behind the one before


@pytest.mark.parametrize("done", [1, 100_000, len(BODY) - 1, len(BODY)])
def test_an_interrupted_download_goes_on(done: int, url: str, shelf: Shelf, tmp_path: Path) -> None:
    begun(tmp_path, url, BODY[:done], len(BODY), '"one"')
    download.download(url, tmp_path / "data.zip", len(BODY), SUM)
    assert (tmp_path / "data.zip").read_bytes() == BODY
    assert shelf.log == ([] if done == len(BODY) else [f"bytes={done}-"])
    assert [file.name for file in tmp_path.iterdir()] == ["data.zip"]


def test_interruption_at_any_byte_ends_with_the_same_file(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in (0, 70_000, 1, 30_000):
        monkeypatch.setattr(download, "Progress", lambda *a, limit=limit, **k: Stopping(limit))
        with pytest.raises(KeyboardInterrupt):
            download.download(url, tmp_path / "data.zip", len(BODY), SUM)
        assert not (tmp_path / "data.zip").exists()
    monkeypatch.undo()
    download.download(url, tmp_path / "data.zip", len(BODY), SUM)
    assert (tmp_path / "data.zip").read_bytes() == BODY


@pytest.mark.parametrize("etag", ['"other"', None])
def test_a_part_of_another_version_is_begun_anew(
    etag: str | None, url: str, shelf: Shelf, tmp_path: Path
) -> None:
    begun(tmp_path, url, b"x" * 1000, len(BODY), etag)
    download.download(url, tmp_path / "data.zip", len(BODY), SUM)
    assert (tmp_path / "data.zip").read_bytes() == BODY
    assert shelf.log[-1] == "bytes=0-"


def test_a_part_of_another_address_is_begun_anew(url: str, tmp_path: Path) -> None:
    begun(tmp_path, "http://elsewhere/data.zip", b"x" * 1000, len(BODY), '"one"')
    download.download(url, tmp_path / "data.zip", len(BODY), SUM)
    assert (tmp_path / "data.zip").read_bytes() == BODY


def test_a_part_longer_than_the_file_is_begun_anew(
    url: str, shelf: Shelf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun(tmp_path, url, b"x" * (len(BODY) + 5), len(BODY) + 9, '"one"')
    download.download(url, tmp_path / "data.zip", len(BODY), SUM)  # a 416, then all of it
    assert (tmp_path / "data.zip").read_bytes() == BODY
    assert "starting again" in caplog.text


def test_a_file_that_changes_midway_is_begun_anew(
    url: str, shelf: Shelf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = BODY[::-1]
    shelf.cut = 1

    def change(number: int) -> None:
        if number == 2:
            shelf.files["data.zip"], shelf.etags["data.zip"], shelf.cut = other, '"two"', 0

    shelf.on_request = change
    with caplog.at_level(logging.WARNING):
        found = download.download(url, tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == other
    assert found.etag == '"two"'
    assert "changed on the server" in caplog.text


def test_a_server_without_ranges_is_read_from_the_start(
    url: str, shelf: Shelf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.ranges = False
    shelf.cut = 1
    shelf.on_request = lambda number: setattr(shelf, "cut", int(number < 3))
    download.download(url, tmp_path / "data.zip", len(BODY), SUM)
    assert (tmp_path / "data.zip").read_bytes() == BODY
    assert "serves no byte ranges; starting again" in caplog.text


def test_a_server_that_never_gets_to_the_end_is_given_up(
    url: str, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 3)
    shelf.ranges, shelf.cut = False, 1
    with pytest.raises(DataError, match="could not be read to its end in 3 attempts"):
        download.download(url, tmp_path / "data.zip", len(BODY), SUM)
    assert not (tmp_path / "data.zip").exists()


def test_a_busy_server_is_asked_again(url: str, shelf: Shelf, tmp_path: Path) -> None:
    shelf.refuse = 5
    download.download(url, tmp_path / "data.zip", len(BODY), SUM)
    assert len(shelf.log) == 6


def test_patience_ends(url: str, shelf: Shelf, tmp_path: Path) -> None:
    shelf.refuse = 1000
    with pytest.raises(DataError, match=r"failed 11 times in a row.*503.*run the same command"):
        download.download(url, tmp_path / "data.zip", len(BODY), SUM)


def test_no_server_is_a_sentence(tmp_path: Path, shelf: Shelf) -> None:
    with FileServer(shelf) as server:
        gone = f"{server.url}/data.zip"
    with pytest.raises(DataError, match=r"in a row.*refused"):
        download.download(gone, tmp_path / "data.zip")


def test_a_wrong_address_is_a_sentence(url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.zip answers 404 Not Found; check the address"):
        download.download(url.replace("data", "no"), tmp_path / "no.zip")


def test_a_wrong_sum_is_named_and_not_kept(url: str, tmp_path: Path) -> None:
    wrong = "0" * 64
    with pytest.raises(DataError, match=f"sha256 {SUM}, {wrong} was expected"):
        download.download(url, tmp_path / "data.zip", len(BODY), wrong)
    assert list(tmp_path.iterdir()) == []
    download.download(url, tmp_path / "data.zip", len(BODY), SUM)


def test_a_wrong_size_is_named_before_it_is_fetched(url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 300000 bytes, 5 were expected"):
        download.download(url, tmp_path / "data.zip", 5, SUM)
    assert not (tmp_path / "data.zip").exists()


def test_a_wrong_file_that_is_there_already_is_named(url: str, tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"not it")
    with pytest.raises(DataError, match=r"data\.zip has 6 bytes, 300000 were expected; remove it"):
        download.download(url, tmp_path / "data.zip", len(BODY), SUM)


def test_no_space_is_said_before_it_begins(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MARGIN", 1 << 60)
    with pytest.raises(DataError, match=r"No space for data.zip .* are needed, .* are free"):
        download.download(url, tmp_path / "data.zip")
    assert not (tmp_path / "data.zip").exists()


class Stopping:
    """A progress bar under which the user presses Ctrl-C once `limit` bytes have passed."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def __enter__(self) -> "Stopping":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, size: int) -> None:
        self.left -= size
        if self.left <= 0:
            raise KeyboardInterrupt


def begun(folder: Path, url: str, part: bytes, size: int, etag: str | None) -> None:
    """Lay a part of a download out as an interrupted run leaves it."""
    (folder / "data.zip.part").write_bytes(part)
    version = json.dumps({"url": url, "version": {"size": size, "etag": etag}})
    (folder / "data.zip.part.json").write_text(version, encoding="utf-8")
