"""Archives of others: what is fit to be unpacked, and what is refused with a sentence."""

import errno
import io
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from meid_bench.benchmark.archives import archive as archives
from meid_bench.benchmark.archives.archive import DamagedError, open_archive
from meid_bench.errors import DataError
from tests.made_release import write_tar, write_zip

FILES = {"a/one.mp4": b"1" * 3000, "a/two.mp4": bytes(range(256)) * 20}
LONG = {f"{'long' * 40}/{'name' * 30}.mp4": b"long" * 100, "a/short.mp4": b"short"}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_of_a_zip_come_out_as_they_went_in(compression: int, tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", FILES, compression)
    check_all(tmp_path / "x.zip", FILES, tmp_path / "out")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_a_tar_come_out_as_they_went_in(form: int, tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", LONG, form)  # long names stand in headers of their own
    check_all(tmp_path / "x.tar", LONG, tmp_path / "out")


def check_all(path: Path, files: dict[str, bytes], out: Path) -> None:
    moved: list[int] = []
    with open_archive(path) as archive:
        assert list(archive.entries) == list(files)
        for number, (name, body) in enumerate(files.items()):
            archive.copy(name, out / str(number), moved.append)
            assert (out / str(number)).read_bytes() == body
            assert archive.holds(name, out / str(number), thorough=False)
    assert sum(moved) == sum(map(len, files.values()))


def test_a_leading_dot_in_a_tar_is_no_folder(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"./a/one.mp4": b"1"})
    with open_archive(tmp_path / "x.tar") as archive:
        assert list(archive.entries) == ["a/one.mp4"]


def test_a_file_is_compared_by_its_size_or_by_its_crc(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", FILES)
    write_tar(tmp_path / "x.tar", FILES)
    (tmp_path / "same").write_bytes(FILES["a/one.mp4"])
    (tmp_path / "other").write_bytes(b"2" * 3000)
    with open_archive(tmp_path / "x.zip") as zipped, open_archive(tmp_path / "x.tar") as tar:
        assert zipped.holds("a/one.mp4", tmp_path / "same", thorough=True)
        assert not zipped.holds("a/one.mp4", tmp_path / "other", thorough=True)
        assert zipped.holds("a/one.mp4", tmp_path / "other", thorough=False)
        assert not zipped.holds("a/two.mp4", tmp_path / "same", thorough=False)
        assert not zipped.holds("a/one.mp4", tmp_path / "absent", thorough=False)
        assert not tar.holds("a/one.mp4", tmp_path / "same", thorough=True)


def test_a_member_is_found_by_its_name_in_another_folder(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", FILES | {"b/two.mp4": b"2"})
    with open_archive(tmp_path / "x.zip") as archive:
        assert archive.find("a/two.mp4") == "a/two.mp4"
        assert archive.find("elsewhere/one.mp4") == "a/one.mp4"
        with pytest.raises(DataError, match=r"holds no three\.mp4"):
            archive.find("a/three.mp4")
        with pytest.raises(DataError, match=r"holds 2 two\.mp4"):
            archive.find("c/two.mp4")


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize(
    "path",
    ["../out.mp4", "a/../../out.mp4", "/etc/out.mp4", "..\\out.mp4", "C:/out.mp4", "a/\n.mp4"],
)
def test_a_member_that_points_outside_is_refused(path: str, suffix: str, tmp_path: Path) -> None:
    write = write_zip if suffix == ".zip" else write_tar
    write(tmp_path / f"x{suffix}", FILES | {path: b"gotcha"})
    with pytest.raises(DataError, match=r"points outside its folder.*nothing was unpacked"):
        open_archive(tmp_path / f"x{suffix}")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("a/link.mp4")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match=r"is a link or a device, 'a/link\.mp4'"):
        open_archive(tmp_path / "x.zip")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_link_or_a_device_in_a_tar_is_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo("a/link.mp4")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(DataError, match="is a link or a device"):
        open_archive(tmp_path / "x.tar")


def test_a_bomb_is_refused_by_what_it_declares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_zip(tmp_path / "x.zip", {"a/bomb.mp4": bytes(4 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match=r"would unpack from .*kB to 4\.19MB, as a zip bomb does"):
        open_archive(tmp_path / "x.zip")
    monkeypatch.setattr(archives, "MEMBER_LIMIT", 2999)
    write_tar(tmp_path / "x.tar", FILES)
    with pytest.raises(DataError, match=r"one\.mp4 would unpack"):
        open_archive(tmp_path / "x.tar")


@pytest.mark.parametrize("size", [0, 10, 2999, 3001, 1 << 20])
def test_a_directory_that_lies_about_sizes_is_found_out(size: int, tmp_path: Path) -> None:
    # Whatever it says, no more than that is written; and the sum shows the lie.
    write_zip(tmp_path / "x.zip", FILES, zipfile.ZIP_DEFLATED)
    forge(tmp_path / "x.zip", "a/one.mp4", size)
    with open_archive(tmp_path / "x.zip") as archive:
        moved: list[int] = []
        with pytest.raises(DamagedError, match=r"member a/one\.mp4 is damaged"):
            archive.copy("a/one.mp4", tmp_path / "out", moved.append)
        assert sum(moved) <= min(size, 3000)
        assert not (tmp_path / "out").exists()
        archive.copy("a/two.mp4", tmp_path / "two")


def forge(path: Path, member: str, size: int) -> None:
    """Write another unpacked size into a zip's directory."""
    data = bytearray(path.read_bytes())
    entry = data.rindex(member.encode()) - 46
    assert data[entry : entry + 4] == b"PK\x01\x02"
    struct.pack_into("<L", data, entry + 24, size)
    path.write_bytes(data)


def test_a_changed_byte_is_found_by_the_sum(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", FILES)
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[data.index(b"111111") + 99] ^= 1
    (tmp_path / "x.zip").write_bytes(data)
    again = pytest.raises(DamagedError, match=r"Bad CRC-32.*fetch the archive again")
    with open_archive(tmp_path / "x.zip") as archive, again:
        archive.copy("a/one.mp4", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


@pytest.mark.parametrize("end", [0, 1, 100, 3000, -1, -23])
def test_a_cut_zip_is_a_sentence(end: int, tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", FILES)
    (tmp_path / "x.zip").write_bytes((tmp_path / "x.zip").read_bytes()[:end])
    with pytest.raises(DataError, match=r"x\.zip is cut, or no zip file"):
        open_archive(tmp_path / "x.zip")


@pytest.mark.parametrize("end", [0, 100, 700, 1024 + 100, 1536 + 3100, 1536 + 3072 + 200, 9728])
def test_a_cut_tar_is_a_sentence(end: int, tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", FILES)
    (tmp_path / "x.tar").write_bytes((tmp_path / "x.tar").read_bytes()[:end])
    with pytest.raises(DataError, match=r"x\.tar is cut, or no tar file"):
        open_archive(tmp_path / "x.tar")


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", FILES)
    data = bytearray((tmp_path / "x.tar").read_bytes())
    data[data.index(b"a/two.mp4")] ^= 1
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(DataError, match="no header at byte"):
        open_archive(tmp_path / "x.tar")


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_text_is_no_archive(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"x{suffix}").write_text("Not Found\n" * 300)
    with pytest.raises(DataError, match=r"is cut, or no (zip|tar) file"):
        open_archive(tmp_path / f"x{suffix}")


def test_other_archives_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match=r"x\.rar is neither a \.zip nor a \.tar; unpack it"):
        open_archive(tmp_path / "x.rar")


def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/one.mp4", b"1")
        archive.writestr("a/one.mp4", b"2")
    with pytest.raises(DataError, match=r"holds a/one\.mp4 twice"):
        open_archive(tmp_path / "x.zip")


def test_a_password_is_a_sentence(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", FILES)
    data = bytearray((tmp_path / "x.zip").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    locked = pytest.raises(DamagedError, match="encrypted")
    with open_archive(tmp_path / "x.zip") as archive, locked:
        archive.copy("a/one.mp4", tmp_path / "out")


def test_a_member_without_a_name_is_refused(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {"a": b"1"})
    data = bytearray((tmp_path / "x.zip").read_bytes())
    entry = data.index(b"PK\x01\x02")
    struct.pack_into("<HH", data, entry + 28, 0, 1)  # its last byte is an extra field's
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DataError, match="points outside its folder, ''"):
        open_archive(tmp_path / "x.zip")


def test_a_name_that_is_no_utf_8_is_a_sentence(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {"a/\u00e9.mp4": b"1"})
    data = (tmp_path / "x.zip").read_bytes()
    name = "\u00e9".encode()  # in front of the member, and in the directory
    (tmp_path / "x.zip").write_bytes(data.replace(name, b"\xff\xff", 1))
    damaged = pytest.raises(DamagedError, match=r"is damaged.*utf-8")
    with open_archive(tmp_path / "x.zip") as archive, damaged:
        archive.copy("a/\u00e9.mp4", tmp_path / "out")


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(tmp_path / "x.zip", FILES)

    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with open_archive(tmp_path / "x.zip") as archive:
        monkeypatch.setattr(Path, "open", lambda *_: Full())
        with pytest.raises(DataError, match=r"No space left in .*out; make room and run the same"):
            archive.copy("a/one.mp4", tmp_path / "out" / "one.mp4")
    assert list((tmp_path / "out").iterdir()) == []
