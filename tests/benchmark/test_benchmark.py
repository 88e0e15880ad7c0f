"""A benchmark is frozen data: saved and loaded alike, and refused where it contradicts itself."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meid_bench.benchmark.annotation import Annotation, Interval
from meid_bench.benchmark.benchmark import BENCHMARK_FILE, Benchmark, load_benchmark, save_benchmark
from meid_bench.benchmark.longtail import Bins, Statistics
from meid_bench.errors import DataError, SettingError
from meid_bench.files import benchmark_dir

ONE = Annotation(
    *("v1", (0, 2), (Interval(0, 0.5, 1.5), Interval(2, 1.0, 2.0))),
    *("S1", "drinks tea", 2.5, "first", "v1"),
)
MADE = Benchmark(
    name="made",
    title="Made up – with ümlauts",
    classes=("cut", "stir", "pour"),
    splits={
        "train": (ONE, Annotation("v2", (0,))),
        "val": (Annotation("v3", (1,)),),
        "test": (Annotation("v0", (2,)), Annotation("v4", (0, 1))),
    },
    bins=Bins(1, 1),
    frames=4,
    training_frames=2,
    expected=Statistics(3, 1, 0, 2, 2, 1, 2, 1.5, 2.0),
    citation="Nobody, 2026",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save_benchmark(MADE, benchmark_dir(tmp_path, "made"))
    return tmp_path


def test_what_is_saved_is_what_is_loaded(root: Path) -> None:
    assert load_benchmark("made", root) == MADE
    assert [path.name for path in benchmark_dir(root, "made").iterdir()] == [BENCHMARK_FILE]


def test_ids_labels_counts_and_groups() -> None:
    assert MADE.ids("test") == ("v0", "v4")
    assert MADE.all_ids() == ("v0", "v1", "v2", "v3", "v4")
    assert MADE.labels("test").tolist() == [[0, 0, 1], [1, 1, 0]]
    assert MADE.labels("test").dtype == np.uint8
    assert MADE.counts.tolist() == [2, 0, 1]
    assert {group: index.tolist() for group, index in MADE.groups.items()} == {
        "head": [0],
        "medium": [],
        "tail": [1, 2],
    }


def test_the_fingerprint_is_of_splits_ids_and_labels_alone() -> None:
    def with_train(*videos: Annotation) -> Benchmark:
        return replace(MADE, splits={**MADE.splits, "train": videos})

    one, two = MADE.splits["train"]
    assert with_train(two, one).fingerprint == MADE.fingerprint  # order
    assert with_train(replace(one, intervals=(), script=None), two).fingerprint == MADE.fingerprint
    assert replace(MADE, title="x", bins=Bins(0, 9)).fingerprint == MADE.fingerprint
    assert with_train(replace(one, labels=(0,)), two).fingerprint != MADE.fingerprint
    assert with_train(one).fingerprint != MADE.fingerprint
    # As the design writes it down, independent of the code above.
    assert MADE.fingerprint == "2a8861979202ea143b786c8eb9def1a1685522bcd0ab98cdb45d0aafd21546c0"


@pytest.mark.parametrize(
    ("split", "video", "message"),
    [
        ("val", Annotation("v1", (0,)), "video 'v1' is in train and in val"),
        ("train", Annotation("v2", (0,)), "video 'v2' is in train and in train"),
        ("test", Annotation("v9", (3,)), r"'v9' has labels \(3,\); there are 3 classes"),
        ("test", Annotation("v9", (-1,)), r"'v9' has labels \(-1,\)"),
    ],
)
def test_a_contradiction_is_refused(split: str, video: Annotation, message: str) -> None:
    splits = {**MADE.splits, split: (*MADE.splits[split], video)}
    with pytest.raises(DataError, match=message):
        replace(MADE, splits=splits)


def test_what_was_not_built_is_named_with_its_command(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'made' has not been built .* `meid-bench build made`"):
        load_benchmark("made", tmp_path / "elsewhere")
    with pytest.raises(SettingError, match="no built benchmark 'mede'; did you mean 'made'"):
        load_benchmark("mede", root)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"name": "made"}', '{"fingerprint": 1, "x": 2, "classes": []}']
)
def test_a_damaged_file_is_a_sentence(text: str, root: Path) -> None:
    (benchmark_dir(root, "made") / BENCHMARK_FILE).write_text(text)
    with pytest.raises(DataError, match=r"benchmark\.json is damaged .*; build made again"):
        load_benchmark("made", root)


def test_a_label_changed_by_hand_is_noticed(root: Path) -> None:
    path = benchmark_dir(root, "made") / BENCHMARK_FILE
    data = json.loads(path.read_text(encoding="utf-8"))
    data["splits"]["train"][0]["labels"] = [0, 1]
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DataError, match="was changed by hand"):
        load_benchmark("made", root)
