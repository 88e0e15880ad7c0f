"""A labels.csv of one's own as a benchmark."""

from pathlib import Path

import numpy as np
import pytest

from meid_bench.benchmark.benchmark import SPLITS
from meid_bench.benchmark.labels_csv import own_benchmark, read_labels
from meid_bench.benchmark.longtail import Bins
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
        ("video,labels\na, ; \n", "line 2: video 'a' has no label"),
        ("video,labels\na,x\na.mp4,y\n", "line 3: video 'a' is there twice"),
        ("video,labels\n../a,x\n", "line 2: video id '../a'"),
        ("video,labels\nmonday/a.mp4,x\n", "line 2: video id 'monday/a' .* into one folder"),
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


def test_splits_of_the_file_are_kept(tmp_path):
    path = written(
        tmp_path, "video,labels,split\na,x;y,train\nb,y,train\nc,x,val\nd,x,test\ne,y,test\n"
    )
    benchmark = own_benchmark(path, "kitchen", 8, Bins(1, 1))
    assert {split: benchmark.ids(split) for split in SPLITS} == {
        "train": ("a", "b"),
        "val": ("c",),
        "test": ("d", "e"),
    }
    assert benchmark.counts.tolist() == [1, 2]
    assert (benchmark.frames, benchmark.classes, benchmark.bins) == (8, ("x", "y"), Bins(1, 1))


def test_without_splits_the_videos_are_divided_the_same_way_each_time(tmp_path):
    rows = "".join(f"v{n},{'often' if n % 3 else 'seldom'};all\n" for n in range(30))
    path = written(tmp_path, "video,labels\n" + rows)
    one, two = (own_benchmark(path, "kitchen", 8) for _ in range(2))
    assert one.fingerprint == two.fingerprint
    assert all(one.labels(split).any(axis=0).all() for split in SPLITS)
    assert [len(one.ids(split)) for split in SPLITS] == [21, 3, 6]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,x,train\nb,x;y,val\nc,x,test\n", "label 'y' is never in train"),
        ("a,x,train\nb,x,test\n", "leave val empty"),
    ],
)
def test_splits_that_nothing_can_be_learned_from_are_refused(tmp_path, rows, said):
    with pytest.raises(DataError, match=said):
        own_benchmark(written(tmp_path, "video,labels,split\n" + rows), "kitchen", 8)


def test_too_few_videos_to_divide_are_named(tmp_path):
    with pytest.raises(DataError, match="2 videos leave val empty"):
        own_benchmark(written(tmp_path, "video,labels\na,x\nb,x\n"), "kitchen", 8)


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([1, 2, 3, 4, 5, 6], [2, 2, 2]),
        ([9, 1, 5], [1, 1, 1]),
        ([3, 3, 3, 3], [0, 0, 4]),
        ([7], [0, 0, 1]),
    ],
)
def test_bins_by_thirds(counts, sizes):
    groups = Bins.thirds(np.array(counts)).groups(np.array(counts))
    assert [len(classes) for classes in groups.values()] == sizes
