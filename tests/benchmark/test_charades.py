"""Official Charades and Charades-Ego files as annotations."""

from pathlib import Path

import pytest

from meid_bench.benchmark.annotation import Interval, id_fault
from meid_bench.benchmark.charades import read_annotations, read_classes
from meid_bench.errors import DataError

HEADER = "id,subject,script,actions,length"
REAL = Path(__file__).parents[3] / "shared" / "data" / "charades"


def annotations(folder: Path, *rows: str, header: str = HEADER, num_classes: int = 10):
    path = folder / "train.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return read_annotations(path, num_classes)


def test_labels_are_a_set_and_intervals_are_clipped(tmp_path):
    (video,) = annotations(
        tmp_path, "AB1,S1,He sits.,c007 1.00 2.50;c002 4.0 99;c007 0.00 1.00,10.00"
    )
    assert video.labels == (2, 7)
    assert video.intervals == (Interval(7, 1, 2.5), Interval(2, 4, 10), Interval(7, 0, 1))
    assert (video.subject, video.script, video.length) == ("S1", "He sits.", 10.0)
    assert video.view is None and video.pair is None


def test_an_interval_outside_the_video_is_dropped_and_its_label_kept(tmp_path):
    (video,) = annotations(tmp_path, "AB1,S1,x,c001 10.00 12.00;c003 5.0 4.0;c004 -1 2,10")
    assert video.labels == (1, 3, 4)
    assert video.intervals == (Interval(4, 0, 2),)


def test_rows_without_actions_come_without_labels(tmp_path):
    videos = annotations(tmp_path, "A,S,x,,5", "B,,,c000 0 1;,5")
    assert [video.labels for video in videos] == [(), (0,)]
    assert (videos[1].subject, videos[1].script) == (None, None)


def test_scripts_that_differ_in_space_only_are_one(tmp_path):
    one, two = annotations(tmp_path, "A,S,A  person sits. ,,5", "B,T,A person sits.,,5")
    assert one.script == two.script


def test_ego_rows_have_a_view_and_the_name_of_their_pair(tmp_path):
    header = HEADER + ",egocentric,charades_video"
    videos = annotations(
        tmp_path, "AB1EGO,S,x,c000 0 1,5,Yes,QQQ", "AB1,S,x,c000 0 1,5,No,QQQ", header=header
    )
    assert [(video.view, video.pair) for video in videos] == [("first", "AB1"), ("third", "AB1")]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("A,S,x,c010 0 1,5", "unknown class 'c010' where c000 to c009"),
        ("A,S,x,7 0 1,5", "unknown class '7'"),
        ("A,S,x,c001 0,5", "action 'c001 0'"),
        ("A,S,x,c001 zero 1,5", "start is 'zero'"),
        ("A,S,x,c001 0 nan,5", "end is 'nan'"),
        ("A,S,x,c001 0 1,long", "length is 'long'"),
        (",S,x,c001 0 1,5", "video id '' is empty"),
        ("../A,S,x,c001 0 1,5", "cannot be a file's name"),
        ("GOOD,S,x,c001 0 1,5", "stands on line 2 already"),
        ("A,S,x,c001 0 1", "4 cells where the header names 5"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, row, said):
    with pytest.raises(DataError, match=said) as caught:
        annotations(tmp_path, "GOOD,S,x,c001 0 1,5", row)
    assert "train.csv, line 3" in str(caught.value)


def test_a_missing_column_and_a_view_that_is_none_are_named(tmp_path):
    with pytest.raises(DataError, match="no column 'script'"):
        annotations(tmp_path, "A,S,,5", header="id,subject,actions,length")
    with pytest.raises(DataError, match="line 2: egocentric is 'maybe'"):
        annotations(tmp_path, "A,S,x,,5,maybe", header=HEADER + ",egocentric")


def test_classes_count_up(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("c000 Juggling some apples\nc001 Sitting\n")
    assert read_classes(path) == ("Juggling some apples", "Sitting")
    path.write_text("c000 Juggling some apples\nc002 Sitting\n")
    with pytest.raises(DataError, match=r"line 2: 'c002 Sitting' where 'c001 <class name>'"):
        read_classes(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="names no class"):
        read_classes(path)


@pytest.mark.parametrize("name", ["", " a", "a/b", "a\\b", ".hidden", "a\tb", "a\nb"])
def test_an_id_that_is_no_file_name_has_a_fault(name):
    assert id_fault(name)


def test_ordinary_ids_have_no_fault():
    assert not any(map(id_fault, ["46GP8", "-dEf_0", "00T1EEGO", "clip 1.v2"]))


@pytest.mark.skipif(not REAL.is_dir(), reason="the official files are not here")
def test_the_official_files():
    classes = read_classes(REAL / "Charades_v1_classes.txt")
    train = read_annotations(REAL / "Charades_v1_train.csv", len(classes))
    test = read_annotations(REAL / "Charades_v1_test.csv", len(classes))
    assert (len(classes), len(train), len(test)) == (157, 7985, 1863)
    assert sum(bool(video.labels) for video in train) == 7811
    assert sum(bool(video.labels) for video in test) == 1814
    assert all(i.end <= video.length for video in train for i in video.intervals)
