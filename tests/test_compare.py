"""Which rows a name means, what a comparison says, and what it admits not to know."""

from dataclasses import replace

import numpy as np
import pytest

from meid_bench.board import compare as module
from meid_bench.board.board_format import format_comparison
from meid_bench.board.compare import TIED, cluster_videos, compare, find_row, full_name, mark_ties
from meid_bench.errors import DataError, SettingError
from meid_bench.leaderboard import make_board
from meid_bench.metrics import evaluate_scores
from meid_bench.results import Features, save_scores
from tests.made_records import make_benchmark, make_result, make_scores

BENCHMARK = make_benchmark(videos=80, subjects=25)
OTHER = Features("other", "e" * 64, "resnet50", "V2", 8, False, False)


def make(folder, benchmark, *runs):
    """A board of (method, seed, skill, changes of the record), each with its scores saved."""
    records = {}
    labels = benchmark.labels("test")
    for number, (method, seed, skill, changes) in enumerate(runs):
        scores = make_scores(labels, skill, seed=31 * number)
        save_scores(folder / f"r{number}", benchmark.ids("test"), scores)
        records[folder / f"r{number}"] = make_result(
            seed=seed, method=method, benchmark_fingerprint=benchmark.fingerprint,
            test=evaluate_scores(scores, labels, benchmark.groups), **changes,
        )  # fmt: skip
    return make_board(records, benchmark)


def test_subjects_are_clusters_and_a_video_without_one_stands_alone():
    videos = list(BENCHMARK.splits["test"])
    videos[0] = replace(videos[0], subject=None)
    videos[1] = replace(videos[1], subject=None)
    benchmark = replace(BENCHMARK, splits={**BENCHMARK.splits, "test": tuple(videos)})
    clusters, unit = cluster_videos(benchmark)
    assert unit == "subjects"
    assert set(clusters) == set(range(clusters.max() + 1))
    assert len({clusters[0], clusters[1], *clusters[2:]}) == 25 + 2
    together = [video.subject == videos[5].subject for video in videos]
    np.testing.assert_array_equal(clusters == clusters[5], together)


def test_clusters_without_subjects_are_videos(tmp_path):
    benchmark = make_benchmark(subjects=None)
    clusters, unit = cluster_videos(benchmark)
    assert (unit, clusters.max() + 1) == ("videos", 60)
    board = make(tmp_path, benchmark, ("a", 0, 2.0, {}), ("b", 0, 1.0, {}))
    notes = " ".join(compare(board, ["a", "b"], 200).notes)
    assert "knows no subjects" in notes


def test_names_tell_rows_apart(tmp_path):
    board = make(
        tmp_path, BENCHMARK,
        ("a", 0, 1.0, {}), ("a", 0, 1.0, {"aggregator": "netvlad"}),
        ("a", 0, 1.0, {"features": OTHER}), ("b", 0, 1.0, {"settings": {"beta": 0.3}}),
        ("b", 0, 1.0, {"settings": {"beta": 0.5}}),
    )  # fmt: skip
    assert find_row(board, "a/netvlad").first.aggregator == "netvlad"
    assert find_row(board, "a/eeeeeeee").first.features == OTHER
    assert find_row(board, "b/beta=0.3").first.settings == {"beta": 0.3}
    with pytest.raises(SettingError, match="'a' fits 3 rows"):
        find_row(board, "a")
    for row in board.rows:
        assert find_row(board, full_name(row)) is row


def test_every_row_is_compared_with_the_first(tmp_path):
    board = make(tmp_path, BENCHMARK, *((m, s, k, {}) for m, k in
                 (("a", 0.5), ("b", 3.0), ("c", 3.0)) for s in (0, 1)))  # fmt: skip
    found = compare(board, ["a", "b", "c"], 400)
    assert list(found.differences) == [("a", "b"), ("a", "c")]
    assert found.differences["a", "b"]["overall"].high < 0
    assert found.best in ("b", "c")
    assert set(found.adjusted) == {"a", "b", "c"} - {found.best}
    assert found.tied == tuple({"b", "c"} - {found.best})
    assert not found.notes
    assert "Cannot be told from it" in format_comparison(found)


def test_what_the_interval_does_not_say_is_said(tmp_path):
    board = make(
        tmp_path, BENCHMARK, ("a", 0, 1.0, {}),
        ("b", 0, 2.0, {"features": OTHER, "protocol": "equal", "version": "9"}),
    )  # fmt: skip
    notes = " ".join(compare(board, ["a", "b"], 200).notes)
    for expected in ("one seed", "differ in features", "differ in protocol", "different versions"):
        assert expected in notes
    few = make_benchmark(subjects=5)
    board = make(tmp_path / "few", few, ("a", 0, 1.0, {}), ("b", 0, 2.0, {}))
    assert "Only 5 subjects" in " ".join(compare(board, ["a", "b"], 200).notes)


def test_the_same_seed_gives_the_same_intervals(tmp_path):
    board = make(tmp_path, BENCHMARK, ("a", 0, 1.0, {}), ("b", 0, 1.2, {}))
    assert compare(board, ["a", "b"], 300) == compare(board, ["a", "b"], 300)


def test_ties_are_marked_within_a_section_only(tmp_path):
    board = make(
        tmp_path, BENCHMARK, ("best", 0, 3.0, {}), ("twin", 0, 3.0, {}), ("poor", 0, 0.0, {}),
        ("lone", 0, 0.0, {"features": OTHER}),
    )  # fmt: skip
    marked, untested = mark_ties(board)
    assert untested == []
    tied = {row.first.method for row in marked.rows if TIED in row.marks}
    assert len(tied) == 1
    assert tied < {"best", "twin"}


def test_ties_that_cannot_be_tested_are_named_and_the_board_stands(tmp_path, monkeypatch):
    board = make(tmp_path, BENCHMARK, ("a", 0, 1.0, {}), ("b", 0, 1.0, {}))
    monkeypatch.setattr(module, "MARKING_COST", 0)
    marked, untested = mark_ties(board)
    assert marked == board
    assert "use --compare" in untested[0]


def test_scores_that_are_gone_or_of_other_videos_are_named(tmp_path):
    board = make(tmp_path, BENCHMARK, ("a", 0, 1.0, {}), ("b", 0, 1.0, {}))
    save_scores(tmp_path / "r1", ["x", *BENCHMARK.ids("test")[1:]], np.zeros((80, 6)))
    with pytest.raises(DataError, match="'x', which is not in toy's test split"):
        compare(board, ["a", "b"], 100)
    (tmp_path / "r1" / "scores.npz").unlink()
    with pytest.raises(DataError, match="missing"):
        compare(board, ["a", "b"], 100)
