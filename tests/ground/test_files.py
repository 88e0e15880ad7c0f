"""Folders, and files that are whole or not there."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meid_bench import files as paths


def test_the_data_root_is_the_variable_or_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEID_BENCH_HOME", "/somewhere")
    assert paths.home() == Path("/somewhere")
    monkeypatch.setenv("MEID_BENCH_HOME", "")
    assert paths.home() == Path("data")


def test_packaged_files_are_found() -> None:
    assert (paths.packaged_splits() / "charadeslt" / "spec.json").is_file()


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        paths.write_text(tmp_path / "below" / "file", "ünïcode")
    finally:
        os.umask(old)
    file = tmp_path / "below" / "file"
    assert file.read_text(encoding="utf-8") == "ünïcode"
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), paths.atomic(file) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_umask_of_a_process_with_threads_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for it is setting it: files that other threads made meanwhile had the mode 0666."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was set"))
    with ThreadPoolExecutor(8) as pool:
        files = [tmp_path / str(number) for number in range(200)]
        list(pool.map(lambda file: paths.write_text(file, "x"), files))
    (tmp_path / "plain").touch()
    assert {file.stat().st_mode for file in files} == {(tmp_path / "plain").stat().st_mode}
