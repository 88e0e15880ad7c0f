"""The fingerprint decides which annotation files give a benchmark; what differs is named."""

import csv
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from meid_bench.benchmark.assemble import check_byte, checks
from meid_bench.benchmark.benchmark import load_benchmark
from meid_bench.benchmark.build import build
from meid_bench.cli.main import cli
from meid_bench.errors import DataError
from tests.file_server import FileServer, Shelf
from tests.made_release import Release, made_release, write_zip
from tools.seal import main as seal

Rows = list[dict[str, str]]


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A made-up release whose spec.json states its fingerprint, and has check bytes."""
    release = made_release(tmp_path)
    path = release.spec / "spec.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"checks": "checks.txt"}))
    done = CliRunner().invoke(seal, [str(release.spec), str(release.source)])
    assert done.exit_code == 0, done.output
    return release


def members(release: Release) -> dict[str, bytes]:
    with zipfile.ZipFile(release.source / "Made.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(release: Release, part: str, change: Callable[[Rows], Rows | None], **how: Any) -> None:
    """Save one csv of the release anew."""
    files = members(release)
    name = f"Made/made_{part}.csv"
    rows = list(csv.DictReader(io.StringIO(files[name].decode())))
    rows = change(rows) or rows
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), **how)
    writer.writeheader()
    writer.writerows(rows)
    write_zip(release.source / "Made.zip", files | {name: text.getvalue().encode()})


def resaved(how: str) -> Callable[[Release], None]:
    """Ways to spell the same annotations otherwise."""

    def as_they_are(rows: Rows) -> None:
        pass

    def by_another_scene(rows: Rows) -> None:
        for row in rows:
            row["scene"] = "Kitchen"

    def in_another_order(rows: Rows) -> Rows:
        return [dict(reversed(row.items())) for row in reversed(rows)]

    def with_labels_turned_round(rows: Rows) -> None:
        for row in rows:
            row["actions"] = ";".join(reversed(row["actions"].split(";")))

    ways: dict[str, Callable[[Release], None]] = {
        "line ends": lambda release: rewrite(release, "train", as_they_are, lineterminator="\n"),
        "quotes": lambda release: rewrite(release, "test", as_they_are, quoting=csv.QUOTE_ALL),
        "scene": lambda release: rewrite(release, "train", by_another_scene),
        "order": lambda release: rewrite(release, "test", in_another_order),
        "actions": lambda release: rewrite(release, "train", with_labels_turned_round),
    }
    return ways[how]


@pytest.mark.parametrize("how", ["line ends", "quotes", "scene", "order", "actions"])
def test_files_that_say_the_same_build(how: str, release: Release, tmp_path: Path) -> None:
    before = (release.source / "Made.zip").read_bytes()
    resaved(how)(release)
    assert (release.source / "Made.zip").read_bytes() != before
    built = build(release.spec, tmp_path / "root", release.source, "none").benchmark
    stated = json.loads((release.spec / "spec.json").read_text())["fingerprint"]
    assert load_benchmark("made", tmp_path / "root").fingerprint == built.fingerprint == stated


def test_unpacked_files_that_say_the_same_build(release: Release, tmp_path: Path) -> None:
    resaved("order")(release)
    folder = tmp_path / "unpacked"
    folder.mkdir()
    for name, body in members(release).items():
        (folder / Path(name).name).write_bytes(body.replace(b"\r\n", b"\n"))
    assert build(release.spec, tmp_path / "root", folder, "none").benchmark.ids("val")


def one_more_label(rows: Rows) -> None:
    for row in rows:
        if row["id"] in ("TRAIN01", "TRAIN07"):
            row["actions"] = "c001 0.00 1.00;c002 0.00 1.00"


def no_label_of_others(rows: Rows) -> None:
    for row in rows:
        if row["id"].startswith("OTHER"):
            row["actions"] = ""


def test_rows_of_videos_that_are_not_listed_do_not_matter(release: Release, tmp_path: Path) -> None:
    rewrite(release, "train", no_label_of_others)
    assert build(release.spec, tmp_path / "root", release.source, "none").benchmark.ids("val")


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        (
            "train",
            one_more_label,
            r"do not give made: the labels of 2 of 22 videos differ, TRAIN01, TRAIN07 "
            r"\(fingerprint \w{8}, \w{8} was expected\); take the official files",
        ),
        (
            "test",
            lambda rows: rows[3:],
            r"annotation files lack 3 of 22 listed videos, VAL00, VAL01, VAL02; are they",
        ),
        (
            "train",
            lambda rows: [*rows, rows[4], rows[2]],
            r"video 'TRAIN04' stands on line 6 already; .* 2 do not: TRAIN02, TRAIN04|"
            r"video 'TRAIN02' stands on line 4 already; .* 2 do not: TRAIN02, TRAIN04",
        ),
        (
            "test",
            lambda rows: [*rows, dict(rows[0], id="TRAIN00")],
            r"Both annotation files have 1 of the videos, TRAIN00; take the official files",
        ),
        (
            "train",
            lambda rows: [dict(row, id=f"X{row['id']}") for row in rows],
            r"lack 12 of 22 listed videos, TRAIN00, TRAIN01, TRAIN02, TRAIN03, TRAIN04 and 7 more",
        ),
        (
            "train",
            lambda rows: [*rows[:-1], dict(rows[-1], actions="c003 0 1")],
            r"line 24: unknown class 'c003' where c000 to c002 was expected",
        ),
    ],
)
def test_files_that_say_something_else_are_refused(
    part: str, change: Callable[[Rows], Rows | None], said: str, release: Release, tmp_path: Path
) -> None:
    rewrite(release, part, change)
    arguments = ["build", str(release.spec), "--source", str(release.source), "--videos", "none"]
    output = CliRunner().invoke(cli, [*arguments, "--root", str(tmp_path / "root")])
    assert output.exit_code == 1
    assert re.search(said, output.output), output.output
    assert output.output.count("\n") == 1
    assert not (tmp_path / "root" / "benchmarks").exists()


def test_without_check_bytes_the_fingerprint_still_decides(
    release: Release, tmp_path: Path
) -> None:
    path = release.spec / "spec.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"checks": None}))
    rewrite(release, "train", one_more_label)
    with pytest.raises(DataError, match="made: some of its 22 videos, or their labels, differ"):
        build(release.spec, tmp_path / "root", release.source, "none")


def test_a_change_that_no_check_byte_sees_is_refused_all_the_same(
    release: Release, tmp_path: Path
) -> None:
    rewrite(release, "train", one_more_label)
    unsealed = tmp_path / "unsealed"
    shutil.copytree(release.spec, unsealed)
    data = json.loads((unsealed / "spec.json").read_text())
    (unsealed / "spec.json").write_text(json.dumps(data | {"fingerprint": None}))
    source = source_without_sums(release, tmp_path)
    other = build(unsealed, tmp_path / "1", source, "none").benchmark
    lines = "".join(f"{name} {byte}\n" for name, byte in checks(other).items())
    (release.spec / "checks.txt").write_text(lines)
    with pytest.raises(DataError, match="the labels of at least one of its 22 videos differ"):
        build(release.spec, tmp_path / "2", release.source, "none")


def source_without_sums(release: Release, tmp_path: Path) -> Path:
    """The release's annotation files unpacked, where no sum is looked at."""
    folder = tmp_path / "no-sums"
    folder.mkdir()
    for name, body in members(release).items():
        (folder / Path(name).name).write_bytes(body)
    return folder


@pytest.fixture
def server(release: Release) -> Iterator[Shelf]:
    """The release's address, in its spec.json."""
    shelf = Shelf({"Made.zip": (release.source / "Made.zip").read_bytes()})
    with FileServer(shelf) as address:
        path = release.spec / "spec.json"
        path.write_text(path.read_text().replace("http://localhost", address.url))
        yield shelf


def test_a_download_is_still_verified_by_its_sum(
    release: Release, server: Shelf, tmp_path: Path
) -> None:
    resaved("quotes")(release)
    server.files["Made.zip"] = (release.source / "Made.zip").read_bytes()
    with pytest.raises(DataError, match=r"bytes, \d+ were expected"):
        build(release.spec, tmp_path / "root", None, "none")
    assert not (tmp_path / "root" / "benchmarks").exists()


def test_a_zip_without_a_member_is_a_sentence(release: Release, tmp_path: Path) -> None:
    files = members(release)
    del files["Made/made_test.csv"]
    write_zip(release.source / "Made.zip", files)
    with pytest.raises(DataError, match=r"holds no made_test\.csv; Made/made_test\.csv was expec"):
        build(release.spec, tmp_path / "root", release.source, "none")


def test_the_seal_of_a_folder_is_compared(release: Release) -> None:
    arguments = [str(release.spec), str(release.source), "--check"]
    assert CliRunner().invoke(seal, arguments).exit_code == 0
    path = release.spec / "checks.txt"
    path.write_text(path.read_text()[:-3] + "zz\n")
    changed = CliRunner().invoke(seal, arguments)
    assert changed.exit_code == 1
    assert f"{path}: differs" in changed.output


def test_a_check_byte_is_one_byte_of_the_id_and_the_labels(release: Release) -> None:
    built = build(release.spec, release.spec / "root", release.source, "none").benchmark
    (first, *_) = built.splits["train"]
    assert re.fullmatch("[0-9a-f]{2}", check_byte(first))
    changed = {check_byte(first.__class__(first.id, (label,))) for label in range(40)}
    assert len(changed) > 20
