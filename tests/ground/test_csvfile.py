"""Files of others: every fault is named by file and line."""

from pathlib import Path

import pytest

from meid_bench.csvfile import read_lines, read_rows, read_text
from meid_bench.errors import DataError


def written(folder: Path, data: bytes) -> Path:
    path = folder / "file.csv"
    path.write_bytes(data)
    return path


def test_byte_order_mark_and_any_line_end_are_accepted(tmp_path):
    path = written(tmp_path, b"\xef\xbb\xbfid,name\r\n1,caf\xc3\xa9\r\n\r\n2,b\r\n")
    assert list(read_rows(path, ("id",))) == [
        (2, {"id": "1", "name": "café"}),
        (4, {"id": "2", "name": "b"}),
    ]


def test_quoted_cells_may_hold_commas_line_ends_and_odd_separators(tmp_path):
    path = written(tmp_path, 'id,text\n1,"a, b\nc"\n2,d\u2028e\n'.encode())
    assert [row["text"] for _, row in read_rows(path, ("id",))] == ["a, b\nc", "d\u2028e"]


def test_lines_are_numbered_as_an_editor_does(tmp_path):
    assert list(read_lines(written(tmp_path, b"a\n\n  b \r\nc"))) == [(1, "a"), (3, "b"), (4, "c")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no column 'id'"),
        (b"name\n1\n", "no column 'id'"),
        (b"id,id\n1,2\n", "line 1: a column is named twice"),
        (b"id,name\n1,2\n1,2,3\n", "line 3: 3 cells where the header names 2"),
        (b"id,name\n1\n", "line 2: 1 cells"),
        (b'id,name\n1,"open\n', "line 2: not a csv row"),
        (b"id,name\n1,a\n2,caf\xe9\n", "line 3: byte 0xe9 is not UTF-8"),
        ("id,name\n1,a\n".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
    ],
)
def test_faults_are_named(tmp_path, data, said):
    with pytest.raises(DataError, match=said) as caught:
        list(read_rows(written(tmp_path, data), ("id",)))
    assert "file.csv" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.csv cannot be read"):
        read_text(tmp_path / "absent.csv")
