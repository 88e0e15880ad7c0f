"""One process at a time: a lock stays one lock, whoever let go of it in between."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from meid_bench.errors import DataError
from meid_bench.files import locked


def test_a_second_one_is_refused_and_comes_in_after_the_first(tmp_path: Path) -> None:
    lock = tmp_path / "below" / ".lock"
    with (
        locked(lock, "build"),
        pytest.raises(DataError, match=r"Another build is running \(.*\.lock is locked\)"),
        locked(lock, "build"),
    ):
        pass
    with locked(lock, "build"):
        pass


def test_who_opened_the_lock_before_it_was_let_go_of_holds_it_for_all(tmp_path: Path) -> None:
    """The file was deleted while it was held: the next one made another, and both were alone."""
    lock = tmp_path / ".lock"
    with locked(lock, "build"):
        waiting = lock.open("rb")
    with waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(DataError, match="Another build"), locked(lock, "build"):
            pass


HAMMER = """
import os, sys, time
from pathlib import Path
from meid_bench.files import locked
from meid_bench.errors import DataError

lock, inside, until = Path(sys.argv[1]), Path(sys.argv[2]), time.time() + 1
entered = 0
while time.time() < until:
    try:
        with locked(lock, "build"):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where another is inside
            os.unlink(inside)
            entered += 1
    except DataError:
        pass
print(entered)
"""


def test_no_two_processes_are_ever_inside(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HAMMER, str(tmp_path / ".lock"), str(tmp_path / "in")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    entered = [int(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum(entered) > 20
