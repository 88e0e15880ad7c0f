"""The board is a pure function of records: who is on it, in which group, and what it says."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import stdev

import pandas as pd
import pytest
from click.testing import CliRunner

from meid_bench.benchmark.benchmark import save_benchmark
from meid_bench.cli.main import cli
from meid_bench.files import benchmark_dir, runs_dir
from meid_bench.results.board import make_board
from meid_bench.results.board_text import board_frame, format_board, leaderboard
from meid_bench.results.metrics import evaluate_scores
from meid_bench.results.record import Features, Metrics, save_record, save_scores
from tests.made_records import make_benchmark, make_result, make_scores, make_submission

BENCHMARK = replace(make_benchmark(), published="CharadesLT")


def record(method="plain", seed=0, overall=0.5, **changes):
    metrics = Metrics(overall, 0.6, 0.4, None, 0.7, 0.9, 1, (0.5, None, 0.5, 0.5, 0.5, 0.5))
    changes = {"benchmark_fingerprint": BENCHMARK.fingerprint, "test": metrics} | changes
    return make_result(seed=seed, method=method, **changes)


def board_of(*records, **kwargs):
    return make_board({Path(f"r{i}"): r for i, r in enumerate(records)}, BENCHMARK, **kwargs)


def test_rows_are_seeds_together_with_sample_deviation():
    board = board_of(*(record(seed=s, overall=v) for s, v in enumerate([0.4, 0.5, 0.7])))
    (row,) = board.rows
    assert row.seeds == (0, 1, 2)
    assert row.scores["overall"].mean == pytest.approx(1.6 / 3)
    assert row.scores["overall"].std == pytest.approx(stdev([0.4, 0.5, 0.7]))
    assert "tail" not in row.scores
    assert board_of(record()).rows[0].scores["overall"].std is None


def test_ranked_by_mean_overall():
    board = board_of(record("a", overall=0.2), record("b", overall=0.4), record("c", overall=0.3))
    assert [row.first.method for row in board.rows] == ["b", "c", "a"]


@pytest.mark.parametrize(
    "change",
    [
        {"aggregator": "netvlad"},
        {"network": "e1"},
        {"preset": "videolt"},
        {"settings": {"gamma": 2.0, "batch": 128}},
        {"missing": {"test": ("test001",)}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_differs_but_the_seed_is_a_row_of_its_own(change):
    board = board_of(record(seed=0), record(seed=1, **change))
    assert len(board.rows) == 2
    assert len(board.sections) == 1
    lines = format_board(board, "markdown").splitlines()
    first, second = (line for line in lines if "plain" in line)
    assert first != second


def changed(method="plain", seed=0, overall=0.5, **settings):
    """A record of a run with settings changed from the preset's."""
    return record(method, seed, overall, settings={"gamma": 1.0, **settings}, changed=(*settings,))


def test_a_row_names_what_differs_from_its_preset_even_alone():
    (row,) = board_of(changed(epochs=20, milestones=[10, 15])).rows
    assert row.name == "plain/epochs=20/milestones=10+15"
    assert row.protocol == "changed"
    names = [row.name for row in board_of(changed(beta=0.3), changed(beta=0.5), record()).rows]
    assert sorted(names) == ["plain", "plain/beta=0.3", "plain/beta=0.5"]


def test_paper_is_said_only_where_nothing_is_changed():
    def heading(*records):
        (section,) = board_of(*records).sections
        return section.title.partition(", features")[0]

    assert heading(record()) == "protocol paper"
    assert heading(changed(epochs=20)) == "protocol changed, as every row names"
    both = "protocol paper, or changed where a row names settings"
    assert heading(record(), changed(epochs=20)) == both
    equal = record(protocol="equal", settings={"batch": 64}, changed=("batch",))
    assert heading(equal) == "protocol equal"
    frame = board_frame(board_of(record(), changed(epochs=20)))
    assert sorted(frame["protocol"].dropna()) == ["changed", "paper"]


def test_rows_that_would_look_alike_are_told_apart_by_settings_that_nobody_changed():
    board = board_of(
        record(settings={"beta": 0.3, "lr": 1}), record(settings={"beta": 0.5, "lr": 1})
    )
    assert sorted(row.name for row in board.rows) == ["plain/beta=0.3", "plain/beta=0.5"]


def test_runs_of_different_code_are_never_one_row():
    board = board_of(record(seed=0), record(seed=1), record(seed=2, code="e" * 64))
    assert sorted((row.name, row.seeds) for row in board.rows) == [
        ("plain/code=dddddddd", (0, 1)), ("plain/code=eeeeeeee", (2,)),
    ]  # fmt: skip


def test_a_network_is_named_as_it_is():
    board = board_of(record(), record(network="e1"), record(network="mine"))
    assert sorted(row.name for row in board.rows) == ["plain", "plain/e1", "plain/mine"]
    assert board.left_out == ()


def test_the_published_number_stands_beside_an_unchanged_row_on_its_own_lists():
    untrained = Features("raw", "e" * 64, "resnet101", "random", 8, True, False)
    rows = [
        record("ldam", overall=0.2), changed("eql"), changed("cbs", gamma=2.0),
        record("meid", features=untrained), record("srs"),
        record("meid-authors", overall=0.181), record("mixup", network="e1"),
    ]  # fmt: skip
    board = board_of(*rows)
    frame = board_frame(board).dropna(subset=["published_overall"])
    frame = frame[frame["kind"] == "run"]
    published = dict(zip(frame["method"], frame["published_overall"], strict=True))
    assert published == {"ldam": 0.114, "eql": 0.121, "meid-authors": 0.151}
    for style in ("table", "markdown"):
        text = format_board(board, style)
        assert "- paper" in text
        (line,) = (x for x in text.splitlines() if " meid-authors" in x)
        assert "+0.030" in line
    other = make_board({Path("r"): rows[0]}, replace(BENCHMARK, published=None))
    assert "- paper" not in format_board(other, "table")


def test_features_and_protocols_are_never_ranked_together():
    other = Features("other", "e" * 64, "resnet50", "V2", 8, True, True)
    board = board_of(record(), record(features=other), record(protocol="equal"))
    assert len(board.sections) == 3
    frame = board_frame(board)
    assert frame["rank"].dropna().tolist() == [1, 1, 1]
    (marked,) = (row for row in board.rows if row.first.features == other)
    assert marked.marks == ("untrained encoder", "imported features")


def test_an_encoder_of_a_library_is_named_with_its_clip():
    shown = Features("s3d", "e" * 64, "torchvision:s3d, 16 frames 4 apart", "V1", 8, False, False)
    (section,) = board_of(record(features=shown)).sections
    assert section.title.endswith("(eeeeeeee) by torchvision:s3d, 16 frames 4 apart")
    (plain,) = board_of(record()).sections
    assert plain.title.endswith(")")


def made_under(precision: str, **other: str) -> Features:
    conditions = {"decoder": "pyav", "precision": precision, **other}
    return Features("store", "f" * 64, "resnet101", "V1", 8, False, False, conditions)


def test_features_of_one_id_share_a_section_and_rows_say_where_their_provenance_differs():
    ours, theirs = made_under("float32"), made_under("bfloat16, compiled")
    board = board_of(
        record(features=ours), record(features=ours, seed=1), record(features=theirs),
        record("ldam", features=ours),
    )  # fmt: skip
    (section,) = board.sections
    assert sorted((row.name, row.seeds) for row in section.rows) == [
        ("ldam/features.precision=float32", (0,)),
        ("plain/features.precision=bfloat16 compiled", (0,)),
        ("plain/features.precision=float32", (0, 1)),
    ]
    assert board.left_out == ()
    alike = board_of(record(features=ours), record("ldam", features=ours))
    assert sorted(row.name for row in alike.rows) == ["ldam", "plain"]


def test_foreign_and_broken_records_are_named_and_left_out():
    foreign = record("foreign", benchmark_fingerprint="0" * 64)
    board = board_of(record(), foreign, problems=["x/result.json cannot be read"])
    assert [row.first.method for row in board.rows] == ["plain"]
    assert board.left_out[0] == "x/result.json cannot be read"
    assert "r1: its benchmark is toy 00000000" in board.left_out[1]


def test_a_record_of_other_classes_is_left_out():
    odd = record("odd", test=Metrics(0.5, 0.6, 0.4, None, 0.7, 0.9, 0, (0.5,)))
    board = board_of(record(), odd)
    assert [row.first.method for row in board.rows] == ["plain"]
    assert "r1: it has AP of 1 classes; toy has 6" in board.left_out[0]


def test_quick_records_never_enter():
    board = board_of(record(quick=True), record(quick=True, seed=1))
    assert board.rows == ()
    assert board.left_out == ("2 quick records are never on the board",)


def test_a_repeated_seed_counts_once_and_the_latest():
    old = record(overall=0.1, date="2026-01-01T00:00:00+00:00")
    new = record(overall=0.9, date="2026-01-02T00:00:00+00:00")
    board = board_of(new, old)
    assert board.rows[0].scores["overall"].mean == 0.9
    assert "r1: r0 repeats it" in board.left_out[0]


def test_marks_say_what_a_reader_must_know():
    submission = make_submission(
        "theirs", benchmark_fingerprint=BENCHMARK.fingerprint, test=record("x").test
    )
    missing = record("holes", missing={"train": ("a", "b"), "test": ("c",)})
    mixed = [record("mixed", seed=0), record("mixed", seed=1, version="0.2", warnings=("!",))]
    board = board_of(submission, missing, *mixed)
    marks = {row.first.method: row.marks for row in board.rows}
    assert marks == {
        "theirs": ("submission",),
        "holes": ("missing 2 train, 1 test",),
        "mixed": ("warnings", "several versions"),
    }
    assert board.sections[-1].features is None


def test_published_numbers_stand_apart_and_have_no_rank():
    frame = board_frame(board_of(record()))
    published = frame[frame["kind"] == "published"]
    assert len(published) == 7
    assert published["rank"].isna().all()
    text = format_board(board_of(record()), "table")
    assert text.index("chance") < text.index("on the authors' own lists")
    assert "not ranked" in text


def test_accuracies_stand_in_every_format():
    board = board_of(record("a"), record("a", seed=1))
    assert board_frame(board)["acc1"][0] == 0.7
    assert board_frame(board)["acc5_std"][0] == 0
    assert json.loads(format_board(board, "json"))["rows"][0]["acc5"] == 0.9
    for style in ("table", "markdown"):
        line = next(x for x in format_board(board, style).splitlines() if " a " in x)
        assert "0.700" in line and "0.900" in line


def test_the_table_has_100_columns_and_says_what_it_leaves_out():
    views = {view: {"overall": 0.2} for view in ("first", "third")}
    metrics = replace(record().test, views=views)
    settings = {"aggregator.clusters": 16, "beta": 0.3, "epochs": 20, "milestones": [10, 15]}
    rows = [
        record("framestack", seed, 0.4 + seed / 10, test=metrics, **changes)
        for seed in (0, 1)
        for changes in (
            {"preset": "videolt"},
            {"aggregator": "netvlad"},
            {"settings": settings, "changed": (*settings,)},
        )
    ]
    rows += [record("framestack", test=metrics), record(warnings=("!",))]
    text = format_board(board_of(*rows), "table")
    table = text[: text.index("Published")]
    assert max(map(len, table.splitlines())) <= 100
    assert "other formats: first overall, third overall" in table
    for expected in (
        "acc1",
        "acc5",
        "/beta=0.3",
        "framestack/nextvlad",
        "/videolt",
        "\na  warnings",
    ):
        assert expected in table, expected
    narrow = format_board(board_of(*rows), "table", 60)
    assert "acc5, acc1, medium, head" in narrow
    assert "±" in narrow


def test_what_all_rows_share_is_in_the_heading():
    text = format_board(board_of(record("a"), record("b", overall=0.2)), "table")
    assert "features store (ffffffff), aggregator nextvlad\n" in text
    assert "a/nextvlad" not in text


def test_views_have_columns_of_their_own():
    views = {"first": {"overall": 0.2}, "third": {"overall": 0.4}}
    metrics = replace(record().test, views=views)
    board = board_of(record(test=metrics))
    assert board_frame(board)["first overall"][0] == 0.2
    assert "third overall" in format_board(board, "markdown")


def test_an_empty_board_says_what_to_do():
    assert "meid-bench run" in format_board(board_of(), "table")
    assert "chance" in format_board(board_of(), "csv")


def test_formats_agree():
    board = board_of(record("a"), record("b", overall=0.25))
    read = pd.read_csv(StringIO(format_board(board, "csv")))
    data = json.loads(format_board(board, "json"))
    assert read["overall"][1] == data["rows"][1]["overall"] == 0.25
    assert data["title"] == BENCHMARK.title
    assert "| b " in format_board(board, "markdown")
    assert BENCHMARK.fingerprint[:8] in format_board(board, "table")


@pytest.fixture
def root(tmp_path):
    """A data root with a built benchmark and three runs whose records follow from their scores."""
    save_benchmark(BENCHMARK, benchmark_dir(tmp_path, "toy"))
    labels = BENCHMARK.labels("test")
    for name, seed, skill in [("meid", 0, 3.0), ("meid", 1, 3.0), ("cbs", 0, 0.3)]:
        scores = make_scores(labels, skill, seed)
        test = evaluate_scores(scores, labels, BENCHMARK.groups)
        folder = runs_dir(tmp_path, "toy") / f"{name}-s{seed}"
        save_scores(folder, BENCHMARK.ids("test"), scores)
        save_record(record(name, seed, test=test), folder)
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)])


def test_command_prints_the_board(root):
    done = call("leaderboard", "--dataset", "toy", "--root", root)
    assert done.exit_code == 0, done.output
    assert "Toy, made" in done.output
    assert done.output.index("meid") < done.output.index("cbs") < done.output.index("chance")


def test_broken_record_is_named_and_not_fatal(root):
    (runs_dir(root, "toy") / "cut").mkdir()
    (runs_dir(root, "toy") / "cut" / "result.json").write_text('{"schema": 1, "kind": "run"}')
    done = call("leaderboard", "--dataset", "toy", "--root", root)
    assert done.exit_code == 0
    assert "cut" in done.stderr
    assert "missing key" in done.stderr


def test_compare_names_a_real_difference(root):
    done = call(
        "leaderboard", "--dataset", "toy", "--root", root, "--compare", "meid,cbs"
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "12 test subjects" in done.output
    assert "differs" in done.output
    assert "Best overall: meid. Cannot be told from it: none" in done.output
    assert "cbs: one seed" in done.output


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("meid", "fewer than two"),
        ("meid,meid", "fewer than two"),
        ("meid,meid/nextvlad", "one row twice"),
        ("meid,cps", "no row of the board 'cps'; did you mean"),
    ],
)
def test_compare_refuses_names_that_mean_no_two_rows(root, names, message):
    done = call("leaderboard", "--dataset", "toy", "--root", root, "--compare", names)
    assert done.exit_code == 1
    assert message in done.output


def test_rescore_agrees_where_nothing_was_touched(root):
    done = call("leaderboard", "--dataset", "toy", "--root", root, "--rescore")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("number", ["overall", "acc5"])
def test_rescore_names_a_record_edited_by_hand(root, number):
    path = runs_dir(root, "toy") / "cbs-s0" / "result.json"
    data = json.loads(path.read_text())
    data["test"][number] = 0.99
    path.write_text(json.dumps(data))
    done = call("leaderboard", "--dataset", "toy", "--root", root, "--rescore")
    assert done.exit_code == 1
    assert f"cbs-s0: its record says {number} 0.99" in done.output


def test_rescore_without_scores_names_the_run(root):
    (runs_dir(root, "toy") / "cbs-s0" / "scores.npz").unlink()
    done = call("leaderboard", "--dataset", "toy", "--root", root, "--rescore")
    assert done.exit_code == 1
    assert "cbs-s0 cannot be rescored" in done.output


def test_ties_with_the_best_are_marked_in_the_table_and_in_the_frame(root):
    labels = BENCHMARK.labels("test")
    scores = make_scores(labels, 3.0, 8)
    folder = runs_dir(root, "toy") / "twin-s0"
    save_scores(folder, BENCHMARK.ids("test"), scores)
    test = evaluate_scores(scores, labels, BENCHMARK.groups)
    save_record(record("twin", 0, test=test), folder)
    output = call("leaderboard", "--dataset", "toy", "--root", root).output
    assert "\na  cannot be told from the best" in output
    (tied,) = (line for line in output.splitlines() if line.startswith("2 "))
    assert "cbs" not in tied and tied.endswith(" a")
    frame = leaderboard("toy", root)
    assert frame["method"].tolist()[2:4] == ["cbs", "chance"]
    assert sorted(frame["seeds"].tolist()[:3]) == [1, 1, 2]
    assert frame["marks"].tolist()[1] == "cannot be told from the best"
    assert "cannot" not in str(frame["marks"].tolist()[2])


def test_unbuilt_dataset_is_one_sentence(tmp_path):
    done = call("leaderboard", "--dataset", "toy", "--root", tmp_path)
    assert done.exit_code == 1
    assert "meid-bench build toy" in done.output
