"""The recipe: what it reaches, that it is the same everywhere, and what it says where it fails."""

import random
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import SPLITS
from meid_bench.benchmark.charades import read_annotations, read_classes
from meid_bench.benchmark.longtail import class_counts
from meid_bench.benchmark.spec import find_spec, load_spec
from meid_bench.csvfile import read_lines
from meid_bench.errors import DataError
from tools.recipe.__main__ import load_targets
from tools.recipe.heldout import blocks_of, hold_out
from tools.recipe.split import make_split
from tools.recipe.targets import KEYS, Targets

REPOSITORY = Path(__file__).parents[3]
REAL = REPOSITORY.parent / "shared" / "data"
NAMES = ["charadeslt-sd", "charadesegolt-sd"]
CLASSES = 12
SMALL = Targets.from_dict(
    {
        "sizes": {"train": 120, "val": 25, "test": 40},
        "bins": {"tail_max": 10, "medium_max": 30},
        "groups": {"head": 4, "medium": 4, "tail": 4},
        "imbalance_ratio": "9.2",
        "labels_per_training_video": "2.4",
        "min_positives": {"val": 1, "test": 2},
        "min_tau": "0.80",
        "seed": "small",
    }
)


def pool(prefix: str, videos: int, subjects: int, seed: str = "0") -> list[Annotation]:
    """Long-tailed labels, few busy subjects, scripts that recur."""
    dice = random.Random(f"{prefix} {seed}")
    weights = [0.8**label for label in range(CLASSES)]
    made = []
    for number in range(videos):
        labels = dice.choices(range(CLASSES), weights, k=dice.choice((0, 2, 3, 3, 4)))
        subject = f"{prefix}{int(subjects * dice.random() ** 2)}"
        script = f"script {dice.randrange(4 * videos)}"
        made.append(
            Annotation(f"{prefix}{number}", tuple(sorted(set(labels))), (), subject, script)
        )
    return made


POOLS = pool("a", 400, 30), pool("b", 130, 14)


def shared(splits: dict[str, list[Annotation]], key: str) -> set[str]:
    """What two splits have in common, by a plain comparison of sets."""
    values = [{getattr(video, key) for video in videos} - {None} for videos in splits.values()]
    return (values[0] & values[1]) | (values[0] & values[2]) | (values[1] & values[2])


def picked(result, *pools) -> dict[str, list[Annotation]]:
    by_id = {video.id: video for videos in pools for video in videos}
    return {split: [by_id[name] for name in getattr(result, split)] for split in SPLITS}


def test_every_target_is_reached():
    result = make_split(*POOLS, CLASSES, SMALL)
    assert result.missed == ()
    splits = picked(result, *POOLS)
    counts = {split: class_counts((v.labels for v in splits[split]), CLASSES) for split in SPLITS}
    assert {split: len(videos) for split, videos in splits.items()} == SMALL.sizes
    assert [sum(counts["train"] > 30), sum(counts["train"] <= 10)] == [4, 4]
    assert f"{counts['train'].max() / counts['train'].min():.1f}" == "9.2"
    assert f"{counts['train'].sum() / 120:.1f}" == "2.4"
    assert counts["val"].min() >= 1 and counts["test"].min() >= 2
    assert not any(shared(splits, key) for key in ("id", *KEYS))
    assert all(video.labels for videos in splits.values() for video in videos)
    assert {v.id[0] for v in splits["train"]} == {"a"}
    assert {v.id[0] for v in splits["val"] + splits["test"]} == {"b"}


def test_order_of_rows_and_hash_seed_change_nothing():
    result = make_split(*POOLS, CLASSES, SMALL)
    turned = [list(reversed(videos)) for videos in POOLS]
    assert make_split(*turned, CLASSES, SMALL) == result
    here = "tests.tools.recipe.test_split"
    code = f"from {here} import *; print(make_split(*POOLS, CLASSES, SMALL).train)"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": "1"},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{result.train}\n"}


def test_another_seed_gives_another_split_of_the_same_statistics():
    one = make_split(*POOLS, CLASSES, SMALL)
    other = make_split(*POOLS, CLASSES, replace(SMALL, seed="other"))
    assert not other.missed
    assert set(one.train) != set(other.train) and set(one.test) != set(other.test)


def test_what_cannot_be_reached_is_named():
    targets = replace(
        SMALL, labels_per_training_video="3.9", sizes={"train": 120, "val": 25, "test": 400}
    )
    result = make_split(*POOLS, CLASSES, targets)
    labelled = sum(bool(video.labels) for video in POOLS[1])
    assert any(s.startswith("labels per training video is ") for s in result.missed)
    (short,) = [sentence for sentence in result.missed if sentence.startswith("test has")]
    assert int(short.split()[2]) < labelled and short.endswith("wanted 400")


def test_a_class_too_rare_for_val_and_test_is_named():
    rare = [replace(v, labels=tuple(c for c in v.labels if c != 3) or (0,)) for v in POOLS[1]]
    result = make_split(POOLS[0], rare, CLASSES, SMALL)
    assert "val has fewer than 1 positives of c003 (0)" in result.missed
    assert "test has fewer than 2 positives of c003 (0)" in result.missed


def test_subjects_that_the_files_share_are_named_where_they_cannot_be_avoided():
    everywhere = [[replace(video, subject="one") for video in POOLS[0]], POOLS[1]]
    everywhere[1] = [
        replace(v, subject="one" if v.subject == "b0" else v.subject) for v in POOLS[1]
    ]
    result = make_split(*everywhere, CLASSES, SMALL)
    assert any("share 1 subject" in sentence for sentence in result.missed)


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [([], POOLS[1], "No train video has a label"), (POOLS[0], [], "No test video has a label")],
)
def test_a_pool_without_labels_is_named(train, test, said):
    unlabelled = [Annotation("x", ())]
    with pytest.raises(DataError, match=said):
        make_split([*train, *unlabelled], [*test, *unlabelled], CLASSES, SMALL)


def test_a_recipe_for_other_classes_is_named():
    with pytest.raises(DataError, match="12 classes in its groups, the data have 13"):
        make_split(*POOLS, CLASSES + 1, SMALL)


def test_a_recipe_whose_ratio_no_counts_have_is_named():
    with pytest.raises(DataError, match=r"have the quotient 1000\.0 with 120 training videos"):
        make_split(*POOLS, CLASSES, replace(SMALL, imbalance_ratio="1000.0"))


def test_pools_that_are_too_small_give_what_they_have():
    result = make_split(POOLS[0][:50], POOLS[1][:10], CLASSES, SMALL)
    assert any(sentence.startswith("train has ") for sentence in result.missed)
    assert any(sentence.startswith("test has ") for sentence in result.missed)
    assert 0 < len(result.train) <= 50 and 0 < len(result.val) + len(result.test) <= 10


def test_blocks_are_closed_under_subjects_and_pairs():
    videos = [
        Annotation("a", (0,), subject="s", pair="p"),
        Annotation("b", (0,), subject="t"),
        Annotation("c", (0,), pair="q"),
        Annotation("d", (0,), subject="t", pair="p"),
        Annotation("e", (0,)),
    ]
    assert blocks_of(videos) == [[0, 1, 3], [2], [4]]


def test_a_script_of_two_subjects_is_on_one_side_only():
    def order(videos, attempt):
        return sorted(videos, key=lambda video: (hash((attempt, len(video.id))), video.id))

    videos = [
        Annotation(f"v{number}", (number % 2,), subject=f"s{number // 4}", script=f"t{number % 7}")
        for number in range(40)
    ]
    sides = hold_out(videos, 2, {"val": 4, "test": 6}, {"val": 2, "test": 2}, order)
    assert [len(sides[side]) for side in ("val", "test")] == [4, 6]
    assert not shared({**sides, "train": []}, "script")
    assert not shared({**sides, "train": []}, "subject")


def test_paired_views_are_on_one_side():
    """Every scene twice, as Charades-Ego has it: its views are never divided."""
    both = [
        [
            replace(video, id=f"{video.id}{view}", pair=video.id)
            for video in videos
            for view in ("", "EGO")
        ]
        for videos in POOLS
    ]
    result = make_split(*both, CLASSES, SMALL)
    assert result.missed == ()
    splits = picked(result, *both)
    assert any(len({v.pair for v in videos}) < len(videos) for videos in splits.values())
    assert not shared(splits, "pair")


@pytest.mark.parametrize("name", NAMES)
def test_the_targets_are_the_numbers_of_the_official_lists(name):
    targets, official = load_targets(name), load_spec(find_spec(name.removesuffix("-sd")))
    row = official.expected
    assert targets.sizes == {split: getattr(row, split) for split in SPLITS}
    assert targets.groups == {group: getattr(row, group) for group in targets.groups}
    assert targets.bins == official.bins
    assert float(targets.imbalance_ratio) == row.imbalance_ratio


@pytest.mark.parametrize("name", NAMES)
def test_packaged_lists_hold_sorted_ids_each_once(name):
    folder = find_spec(name)
    spec = load_spec(folder)
    lists = {s: [i for _, i in read_lines(folder / spec.lists[s])] for s in SPLITS}
    assert {split: len(ids) for split, ids in lists.items()} == load_targets(name).sizes
    every = [name for ids in lists.values() for name in ids]
    assert len(set(every)) == len(every)
    assert all(ids == sorted(ids) for ids in lists.values())


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The folder of a benchmark's official files; the test is skipped where there is none."""

    def unpacked(name: str) -> Path:
        if not REAL.is_dir():
            pytest.skip("the official files are not here")
        if name == "charadeslt-sd":
            return REAL / "charades"
        folder = tmp_path_factory.mktemp("ego")
        with zipfile.ZipFile(REAL / "charadesego" / "CharadesEgo.zip") as archive:
            archive.extractall(folder)
        return folder / "CharadesEgo"

    return unpacked


def packaged(name: str, official: Path) -> dict[str, list[Annotation]]:
    """The videos of packaged lists: train from the official train file, the others from test."""
    folder = find_spec(name)
    spec = load_spec(folder)
    files = {role: official / Path(m).name for role, m in spec.sources.annotations.members.items()}
    classes = read_classes(files["classes"])
    by_id = {
        part: {v.id: v for v in read_annotations(files[part], len(classes))}
        for part in ("train", "test")
    }
    return {
        split: [
            by_id["train" if split == "train" else "test"][i]
            for _, i in read_lines(folder / spec.lists[split])
        ]
        for split in SPLITS
    }


@pytest.mark.parametrize("name", NAMES)
def test_packaged_lists_share_no_subject_script_or_recording(name, official):
    splits = packaged(name, official(name))
    assert not any(shared(splits, key) for key in KEYS)
    for split, least in load_targets(name).min_positives.items():
        assert class_counts((v.labels for v in splits[split]), 157).min() >= least


@pytest.mark.parametrize("name", NAMES)
def test_the_data_card_prints_the_numbers_of_these_lists(name, official):
    splits = packaged(name, official(name))
    counts = [class_counts((v.labels for v in splits[split]), 157) for split in SPLITS]
    card = (find_spec(name) / "README.md").read_text()
    printed = {
        int(label): tuple(map(int, numbers))
        for label, *numbers in re.findall(r"\| c(\d{3}) \| (\d+) \| (\d+) \| (\d+) \|", card)
    }
    tail = [label for label in range(157) if counts[0][label] <= 20]
    assert printed == {label: tuple(int(count[label]) for count in counts) for label in tail}
    rows = {
        "videos": [f"{len(splits[split]):,}" for split in SPLITS],
        "subjects": [len({video.subject for video in splits[split]}) for split in SPLITS],
        "labels per video": [
            f"{c.sum() / len(splits[s]):.1f}" for c, s in zip(counts, SPLITS, strict=True)
        ],
        "videos of the rarest class": [count.min() for count in counts],
    }
    for what, numbers in rows.items():
        assert f"| {what} | {' | '.join(map(str, numbers))} |" in card


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_gives_the_packaged_lists(name, official):
    done = subprocess.run(
        [sys.executable, "-m", "tools.recipe", name, str(official(name)), "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as packaged" in done.stdout
