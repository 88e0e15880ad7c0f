"""VideoLT's official lists."""

from pathlib import Path

import pytest

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.benchmark.longtail import Bins, statistics, table1_row
from meid_bench.benchmark.spec import find_spec, load_spec
from meid_bench.benchmark.videolt import read_classes, read_list
from meid_bench.errors import DataError

REAL = Path(__file__).parents[3] / "shared" / "data" / "videolt"


def written(folder: Path, text: str) -> Path:
    path = folder / "train.lst"
    path.write_text(text)
    return path


def test_classes_stand_at_their_index(tmp_path):
    assert read_classes(written(tmp_path, "b 1 2.0\na name 0 1.0\n")) == ("a name", "b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a 0 1.0\nb 0 1.0\n", "line 2: 'b 0 1.0' where"),
        ("a 0\n", "line 1: 'a 0' where"),
        ("a zero 1\n", "line 1"),
        ("a 1 1.0\n", "not the indices 0 to 0"),
        ("", "names 0 classes"),
    ],
)
def test_a_bad_counts_file_is_named(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read_classes(written(tmp_path, text))


def test_a_line_is_an_id_and_its_classes(tmp_path):
    videos = read_list(written(tmp_path, "-aB_ 3,1,3\nzz 0\n"), 4)
    assert [(video.id, video.labels) for video in videos] == [("-aB_", (1, 3)), ("zz", (0,))]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a 0\nb 4\n", "line 2: class '4' where an index from 0 to 3"),
        ("a 0\nb -1\n", "line 2: class '-1'"),
        ("a 0\nb\n", "line 2: class ''"),
        ("a 0\nb 1 2\n", "line 2: class '1 2'"),
        ("a 0\nb 1\na 2\n", "line 3: video 'a' is listed twice"),
        ("../a 0\n", "line 1: video id"),
        ("\n", "lists no video"),
    ],
)
def test_a_bad_list_is_named_by_line(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read_list(written(tmp_path, text), 4)


def test_an_id_in_two_lists_is_named(tmp_path):
    lists = {}
    for split, text in {"train": "a 0\nb 1\n", "val": "c 0\n", "test": "d 1\nb 0\n"}.items():
        lists[split] = tmp_path / split
        lists[split].write_text(text)
    splits = {split: read_list(path, 2) for split, path in lists.items()}
    with pytest.raises(DataError, match="video 'b' is in train and in test"):
        Benchmark("videolt", "VideoLT", ("x", "y"), splits, Bins(100, 500), 150)


@pytest.mark.skipif(not REAL.is_dir(), reason="the official lists are not here")
def test_table_1_of_videolt():
    classes = read_classes(REAL / "count-labels-train.lst")
    files = {"train": "train.lst", "val": "validate.lst", "test": "test.lst"}
    splits = {split: read_list(REAL / name, len(classes)) for split, name in files.items()}
    spec = load_spec(find_spec("videolt"))
    labels = {split: [video.labels for video in videos] for split, videos in splits.items()}
    row = table1_row(statistics(labels, len(classes), spec.bins), spec.expected)
    assert all(number.agrees for number in row), row
