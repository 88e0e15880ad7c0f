"""Which rows a name means, what a comparison says, and what it admits not to know."""

from dataclasses import replace

import numpy as np
import pytest

from meid_bench.errors import DataError, SettingError
from meid_bench.results import kept_draws
from meid_bench.results.board import make_board
from meid_bench.results.board_text import format_comparison
from meid_bench.results.comparison import TIED, compare, find_row, full_name, mark_ties
from meid_bench.results.kept_draws import RESAMPLES_FILE, KeptDraws, cluster_videos
from meid_bench.results.metrics import evaluate_scores
from meid_bench.results.record import Features, save_scores
from meid_bench.results.row_draws import resamples_for
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
    notes = " ".join(compare(board, ["a", "b"]).notes)
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


def test_a_row_on_its_own_network_is_told_from_the_same_on_another(tmp_path):
    board = make(tmp_path, BENCHMARK, ("a", 0, 1.0, {}), ("a", 0, 1.0, {"network": "e1"}))
    with pytest.raises(SettingError, match="'a' fits 2 rows"):
        find_row(board, "a")
    for row in board.rows:
        assert find_row(board, full_name(row)) is row
    assert find_row(board, "a/own").run.network == "own"
    assert find_row(board, "a/e1").run.network == "e1"


def test_every_row_is_compared_with_the_first(tmp_path):
    board = make(tmp_path, BENCHMARK, *((m, s, k, {}) for m, k in
                 (("a", 0.5), ("b", 3.0), ("c", 3.0)) for s in (0, 1)))  # fmt: skip
    found = compare(board, ["a", "b", "c"])
    assert list(found.differences) == [("a", "b"), ("a", "c")]
    assert found.differences["a", "b"]["overall"].high < 0
    assert found.best in ("b", "c")
    assert set(found.p) == {"a", "b", "c"} - {found.best}
    assert found.tied == tuple({"b", "c"} - {found.best})
    (seeds,) = found.notes
    assert "seeds" in seeds
    assert "Cannot be told from it" in format_comparison(found)


def test_what_the_interval_does_not_say_is_said(tmp_path):
    board = make(
        tmp_path, BENCHMARK, ("a", 0, 1.0, {}),
        ("b", 0, 2.0, {"features": OTHER, "protocol": "equal", "version": "9"}),
    )  # fmt: skip
    notes = " ".join(compare(board, ["a", "b"]).notes)
    for expected in ("one seed", "differ in features", "differ in protocol", "different versions"):
        assert expected in notes
    few = make_benchmark(subjects=5)
    board = make(tmp_path / "few", few, ("a", 0, 1.0, {}), ("b", 0, 2.0, {}))
    assert "Only 5 subjects" in " ".join(compare(board, ["a", "b"]).notes)


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


def test_a_row_that_cannot_be_tested_is_named_and_the_others_are_marked(tmp_path):
    board = make(tmp_path, BENCHMARK, *((name, 0, 1.0, {}) for name in "abc"))
    lost, *others = board.rows
    (next(iter(lost.runs)) / "scores.npz").unlink()
    marked, notes = mark_ties(board)
    assert len(notes) == 1 and f"{lost.name} is not compared" in notes[0]
    tied = {row.first.method for row in marked.rows if TIED in row.marks}
    assert tied and tied < {row.first.method for row in others}
    assert compare(board, [row.name for row in others])
    with pytest.raises(DataError, match="missing"):
        compare(board, "abc")


def test_board_and_comparison_give_one_verdict_in_any_order(tmp_path):
    skills = {"a": 3.0, "b": 2.4, "c": 2.3, "d": 1.9, "e": 0.5}
    board = make(tmp_path, BENCHMARK, *((m, s, k, {}) for m, k in skills.items() for s in (0, 1)))
    marked, _ = mark_ties(board)
    tied = {row.first.method for row in marked.rows if TIED in row.marks}
    best = marked.rows[0].first.method
    assert {"e"} <= set(skills) - tied - {best}
    for other in set(skills) - {best}:
        there, back = compare(board, [best, other]), compare(board, [other, best])
        assert set(there.tied) == set(back.tied) == tied & {other}
        one, turned = there.differences[best, other], back.differences[other, best]
        assert one["overall"].p == turned["overall"].p == there.p[other]
        for measure in one:
            low, high = -turned[measure].high, -turned[measure].low
            assert (one[measure].low, one[measure].high) == pytest.approx((low, high))


def test_an_oracle_is_told_from_thirty_random_rows(tmp_path):
    rows = [("oracle", 0, 60.0, {})] + [(f"random {n:02d}", 0, 0.0, {}) for n in range(30)]
    marked, _ = mark_ties(make(tmp_path, BENCHMARK, *rows))
    assert marked.rows[0].first.method == "oracle"
    assert not any(TIED in row.marks for row in marked.rows)


def test_another_row_moves_no_draw_and_more_rows_have_more_resamples(tmp_path):
    assert [resamples_for(rows) for rows in (2, 10, 30, 100)] == [2000, 2000, 6000, 20000]
    runs = [("a", 0, 1.0, {}), ("b", 0, 1.2, {}), ("c", 0, 1.4, {})]
    make(tmp_path / "two", BENCHMARK, *runs[:2])
    make(tmp_path / "three", BENCHMARK, *runs)
    short = KeptDraws(BENCHMARK, 50).of_run(tmp_path / "two" / "r1")[1]
    long = KeptDraws(BENCHMARK, 80).of_run(tmp_path / "three" / "r1")[1]
    np.testing.assert_array_equal(long[:50], short)


def test_draws_are_kept_go_on_and_are_drawn_anew_when_stale(tmp_path, monkeypatch):
    board = make(tmp_path, BENCHMARK, ("a", 0, 1.0, {}), ("b", 0, 1.0, {}))
    run = tmp_path / "r0"
    few = KeptDraws(BENCHMARK, 20).of_run(run)[1]
    asked = []
    real = kept_draws.resampled_means

    def count(scores, labels, clusters, groups, weights):
        asked.append(len(weights))
        return real(scores, labels, clusters, groups, weights)

    monkeypatch.setattr(kept_draws, "resampled_means", count)
    more = KeptDraws(BENCHMARK, 50)
    assert not more.ready(run)
    np.testing.assert_array_equal(more.of_run(run)[1][:20], few)
    assert more.ready(run) and KeptDraws(BENCHMARK, 30).ready(run)
    assert asked == [30]  # only those that were not there
    assert mark_ties(board) == mark_ties(board)
    assert sorted(asked) == [30, 1950, 2000]  # the second board drew nothing

    with (run / RESAMPLES_FILE).open("wb") as file:
        np.save(file, few)  # numpy reads it, and it is no .npz
    np.testing.assert_array_equal(KeptDraws(BENCHMARK, 2000).of_run(run)[1][:20], few)
    assert asked[3:] == [2000]

    scores = make_scores(BENCHMARK.labels("test"), 2.0, 9)
    save_scores(run, BENCHMARK.ids("test"), scores)
    _, (note,) = mark_ties(board)
    assert "stale" in note and note.endswith(": r0")
    assert asked[4:] == [2000]
    (run / RESAMPLES_FILE).write_bytes(b"broken")
    assert "stale" in mark_ties(board)[1][0]
    assert mark_ties(board)[1] == []


def test_what_cannot_be_kept_is_drawn_each_time_and_said(tmp_path, monkeypatch):
    board = make(tmp_path, BENCHMARK, ("a", 0, 1.0, {}), ("b", 0, 1.0, {}))

    def full(path):
        raise OSError("no space left on device")

    monkeypatch.setattr(kept_draws, "atomic", full)
    _, (note,) = mark_ties(board)
    assert "drawn each time: " in note and "r0" in note and "r1" in note
    assert not list(tmp_path.glob(f"*/{RESAMPLES_FILE}"))


def test_a_long_list_without_subjects_is_resampled_in_groups(monkeypatch):
    monkeypatch.setattr(kept_draws, "MOST_CLUSTERS", 10)
    benchmark = make_benchmark(subjects=None)
    clusters, unit = cluster_videos(benchmark)
    assert (unit, len(clusters)) == ("groups of videos", 60)
    assert set(clusters) == set(range(clusters.max() + 1))
    assert clusters.max() < 10
    turned = {**benchmark.splits, "test": benchmark.splits["test"][::-1]}
    again, _ = cluster_videos(replace(benchmark, splits=turned))
    np.testing.assert_array_equal(again[::-1], clusters)


def test_scores_that_are_gone_or_of_other_videos_are_named(tmp_path):
    board = make(tmp_path, BENCHMARK, ("a", 0, 1.0, {}), ("b", 0, 1.0, {}))
    save_scores(tmp_path / "r1", ["x", *BENCHMARK.ids("test")[1:]], np.zeros((80, 6)))
    with pytest.raises(DataError, match="'x', which is not in toy's test split"):
        compare(board, ["a", "b"])
    (tmp_path / "r1" / "scores.npz").unlink()
    with pytest.raises(DataError, match="missing"):
        compare(board, ["a", "b"])
