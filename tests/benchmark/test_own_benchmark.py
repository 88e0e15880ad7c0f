"""What becomes of a labels.csv: splits, groups, negatives, and what its owner is told."""

from pathlib import Path

import pytest

from meid_bench.benchmark.benchmark import SPLITS
from meid_bench.benchmark.longtail import Bins
from meid_bench.benchmark.own_data import OwnBenchmark, own_benchmark
from meid_bench.errors import DataError
from meid_bench.results.kept_draws import cluster_videos


def made(folder: Path, text: str, bins: Bins | None = None) -> OwnBenchmark:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return own_benchmark(path, "kitchen", 8, bins)


def test_splits_of_the_file_are_kept(tmp_path: Path) -> None:
    rows = "a,x;y,train\nb,y,train\nc,x,val\nd,x,test\ne,y,test\n"
    benchmark = made(tmp_path, "video,labels,split\n" + rows, Bins(1, 1)).benchmark
    assert {split: benchmark.ids(split) for split in SPLITS} == {
        "train": ("a", "b"),
        "val": ("c",),
        "test": ("d", "e"),
    }
    assert benchmark.counts.tolist() == [1, 2]
    assert (benchmark.frames, benchmark.classes, benchmark.bins) == (8, ("x", "y"), Bins(1, 1))


def test_without_splits_the_videos_are_divided_the_same_way_each_time(tmp_path: Path) -> None:
    rows = "".join(f"v{n},{'often' if n % 3 else 'seldom'};all\n" for n in range(30))
    one, two = (made(tmp_path, "video,labels\n" + rows).benchmark for _ in range(2))
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
def test_splits_that_nothing_can_be_learned_from_are_refused(
    tmp_path: Path, rows: str, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        made(tmp_path, "video,labels,split\n" + rows)


def test_too_few_videos_to_divide_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 videos leave val empty"):
        made(tmp_path, "video,labels\na,x\nb,x\n")


GROUPED = "video,labels,group\n" + "".join(
    f"v{n},{'often;seldom' if n % 4 == 0 else 'often' if n % 5 else ''},{person}\n"
    for n, person in enumerate(f"person {n % 7}" for n in range(70))
)


def test_a_group_is_on_one_side_and_a_cluster_of_the_bootstrap(tmp_path: Path) -> None:
    found = made(tmp_path, GROUPED)
    splits = found.benchmark.splits
    people = [{video.subject for video in splits[split]} for split in SPLITS]
    assert sum(map(len, people)) == 7 and all(people)
    assert all(found.benchmark.counts_in(split).all() for split in SPLITS)
    clusters, unit = cluster_videos(found.benchmark)
    assert unit == "subjects" and clusters.max() + 1 == len(people[2])
    assert "groups: 7, of 10 to 10 videos (train 5, val 1, test 1)" in found.notes
    assert not any("side" in warning for warning in found.warnings)


def test_a_given_split_that_divides_groups_is_warned_of(tmp_path: Path) -> None:
    rows = "a,x,train,anna\nb,x,train,ben\nc,x,val,ben\nd,x,test,anna\ne,x,test,\nf,x,test,eve\n"
    found = made(tmp_path, "video,labels,split,group\n" + rows)
    said = [warning for warning in found.warnings if "side" in warning]
    assert said[0].startswith("2 of 3 groups are on more than one side of the given split, such as")
    assert "'anna' in train and test" in said[0]
    assert "groups: 3, of 1 to 2 videos (train 2, val 1, test 2); 1 videos are in none" in "".join(
        found.notes
    )


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ("aabb", "the 2 groups leave val empty, for each stays on one side; make more"),
        ("aaaa", "the 1 groups leave val and test empty.*train needs x, y, of one group each"),
    ],
)
def test_groups_that_cannot_be_divided_are_refused(tmp_path: Path, groups: str, said: str) -> None:
    rows = "".join(f"v{n},{'xy'[n % 2]},{group}\n" for n, group in enumerate(groups))
    with pytest.raises(DataError, match=said):
        made(tmp_path, "video,labels,group\n" + rows)


def test_videos_without_labels_are_divided_as_the_others(tmp_path: Path) -> None:
    rows = "".join(f"v{n},{'' if n % 2 else 'x'}\n" for n in range(100))
    found = made(tmp_path, "video,labels\n" + rows)
    assert [len(found.benchmark.ids(split)) for split in SPLITS] == [70, 10, 20]
    assert [int(found.benchmark.counts_in(split)[0]) for split in SPLITS] == [35, 5, 10]
    note = "without labels: 50 videos, kept as negatives of every class (train 35, val 5, test 10)"
    assert note in found.notes


def test_the_reading_of_labels_is_told(tmp_path: Path) -> None:
    rows = 'a,"cut,stir"\nb,stir\nc,"cut,pour"\nd,pour\ne,"stir,pour"\nf,cut\n'
    assert made(tmp_path, "video,labels\n" + rows).notes == (
        "labels: separated by ','; 3 classes: cut, pour, stir",
    )
    single = made(tmp_path, "video,labels\n" + "".join(f"v{n},x{n % 7}\n" for n in range(70)))
    assert single.notes == ("labels: one a video; 7 classes: x0, x1, x2, x3, x4 and 2 more",)


def test_bins_of_few_test_positives_are_told_in_one_line(tmp_path: Path) -> None:
    rows = ["rare,train"] + [f"common;{'medium' if n < 3 else 'common'},train" for n in range(9)]
    rows += ["common,val"] + ["common,test"] * 6 + ["medium,test"] * 4
    text = "".join(f"v{n},{row}\n" for n, row in enumerate(rows))
    found = made(tmp_path, "video,labels,split\n" + text, Bins(1, 5))
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith(
        "few positives in test: medium has 4 for 1 classes; tail has 0 for 1 classes, none of "
        "'rare': such a bin"
    )
    text += "".join(f"w{n},medium;rare,test\n" for n in range(5))
    assert made(tmp_path, "video,labels,split\n" + text, Bins(1, 5)).warnings == ()
