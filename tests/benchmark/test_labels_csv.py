"""A labels.csv of one's own, read."""

from pathlib import Path

import pytest

from meid_bench.benchmark.labels_csv import read_labels
from meid_bench.errors import DataError


def written(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_are_separated_by_semicolons_and_keep_their_inner_space(tmp_path):
    table = read_labels(
        written(
            tmp_path,
            "video,labels,note\n"
            "a.mp4, open a door ;sit;;sit,first\n"
            'clip 2.MKV,"cut, dice",\n'
            "v1.2,sit,\n",
        )
    )
    assert table.classes == ("cut, dice", "open a door", "sit")
    assert [(v.id, v.labels) for v in table.videos] == [
        ("a", (1, 2)),
        ("clip 2", (0,)),
        ("v1.2", (2,)),
    ]
    assert table.splits is None


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    assert read_labels(written(tmp_path, "\ufeffvideo,labels\na,x\n")).videos[0].id == "a"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("video,label\na,x\n", "no column 'labels'"),
        ("video,labels\n", "no row under its header"),
        ("video,labels\na, ; \nb,\n", "no video has a label"),
        ("video,labels\na,x\na.mp4,y\n", "line 3: video 'a' is there twice"),
        ("video,labels\n../a,x\n", "line 2: video '../a' is not a path inside"),
        ("video,labels\nmonday\\a.mp4,x\n", "line 2: .* cannot be a file's .* written with /"),
        ("video,labels\na%2fb,x\n", "line 2: video 'a%2fb' has %2F in its name"),
        ("video,labels,split\na,x,train\nb,x,dev\n", "line 3: split 'dev' where train, val, test"),
        ("video,labels,split\na,x,train\nb,x,\n", "line 3: split ''"),
        ("video,labels\na,x,y\n", "line 2: 3 cells"),
    ],
)
def test_a_bad_file_is_named_by_line(tmp_path, rows, said):
    with pytest.raises(DataError, match=said) as caught:
        read_labels(written(tmp_path, rows))
    assert "labels.csv" in str(caught.value)


def test_latin_1_is_named(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes("video,labels\na,café\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 2: byte 0xe9 is not UTF-8"):
        read_labels(path)


def test_rows_without_labels_groups_and_folders_are_read(tmp_path):
    table = read_labels(
        written(
            tmp_path,
            "video,labels,group\n"
            "monday/a.mp4,cut;stir,anna\n"
            "./monday//b.MOV,,anna\n"
            "monday%20b.mp4,;,\n"
            "tuesday/am/a,stir, ben \n",
        )
    )
    assert [(v.id, v.labels, v.subject) for v in table.videos] == [
        ("monday%2Fa", (0, 1), "anna"),
        ("monday%2Fb", (), "anna"),
        ("monday%20b", (), None),
        ("tuesday%2Fam%2Fa", (1,), "ben"),
    ]


def test_the_separator_that_was_said_counts(tmp_path):
    path = written(tmp_path, 'video,labels\na,"cut, dice"\nb,"stir, dice"\nc,stir\nd,cut\n')
    assert read_labels(path).classes == ("cut", "dice", "stir")
    whole = read_labels(path, ";")
    assert (whole.classes, whole.separator) == (("cut", "cut, dice", "stir", "stir, dice"), None)
    words = read_labels(written(tmp_path, "video,labels\na,cut  stir\n"), " ")
    assert (words.classes, words.separator) == (("cut", "stir"), " ")
