"""Scores made elsewhere: three formats, one record; whatever is wrong is named before scoring."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from meid_bench.benchmark.benchmark import save_benchmark
from meid_bench.cli.main import cli
from meid_bench.errors import DataError, SettingError
from meid_bench.files import benchmark_dir, runs_dir
from meid_bench.results.board_text import leaderboard
from meid_bench.results.metrics import evaluate_scores
from meid_bench.results.record import Submission, load_record, load_scores
from meid_bench.results.submission import evaluate
from tests.made_records import CLASSES, make_benchmark, make_scores

BENCHMARK = replace(
    make_benchmark(), classes=("a, b", "<b>&amp;", 'say "hi"', "🎉", "class 4", "class 5")
)
IDS = BENCHMARK.ids("test")
SCORES = make_scores(BENCHMARK.labels("test"), 1.0)
CODES = [f"c{c:03d}" for c in range(CLASSES)]


@pytest.fixture
def root(tmp_path):
    save_benchmark(BENCHMARK, benchmark_dir(tmp_path, "toy"))
    return tmp_path


def write_npz(path, ids=IDS, scores=SCORES):
    np.savez(path, ids=np.array(ids), scores=scores)
    return path


def write_csv(path, ids=IDS, scores=SCORES, columns=CODES):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *columns])
        rows = zip(ids, scores, strict=True)
        writer.writerows([i, *map(repr, map(float, row))] for i, row in rows)
    return path


def write_txt(path, ids=IDS, scores=SCORES):
    lines = [" ".join([i, *map(repr, map(float, row))]) for i, row in zip(ids, scores, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


WRITERS = {".npz": write_npz, ".csv": write_csv, ".txt": write_txt}


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_record(root, tmp_path, suffix):
    order = np.random.default_rng(0).permutation(len(IDS))
    path = WRITERS[suffix](tmp_path / f"s{suffix}", [IDS[i] for i in order], SCORES[order])
    result = evaluate(path, "toy", "Theirs", root=root)
    assert result.test == evaluate_scores(SCORES, BENCHMARK.labels("test"), BENCHMARK.groups)
    assert isinstance(result, Submission)
    folder = runs_dir(root, "toy") / "submission-Theirs"
    assert load_record(folder) == result
    ids, scores = load_scores(folder)
    assert ids == IDS
    np.testing.assert_array_equal(scores, SCORES)


def test_csv_columns_may_be_class_names_in_any_order(root, tmp_path):
    order = [3, 0, 5, 2, 1, 4]
    columns = [BENCHMARK.classes[c] for c in order]
    path = write_csv(tmp_path / "s.csv", scores=SCORES[:, order], columns=columns)
    expected = evaluate_scores(SCORES, BENCHMARK.labels("test"), BENCHMARK.groups)
    assert evaluate(path, "toy", "named", root=root).test == expected


def test_logits_become_probabilities(root, tmp_path):
    logits = np.log(SCORES / (1 - SCORES.astype(np.float64)))
    path = write_npz(tmp_path / "s.npz", scores=logits)
    with pytest.raises(DataError, match=r"probability in .* --logits"):
        evaluate(path, "toy", "L", root=root)
    assert evaluate(path, "toy", "L", logits=True, root=root).test.overall == pytest.approx(
        evaluate_scores(SCORES, BENCHMARK.labels("test"), BENCHMARK.groups).overall
    )


def test_logits_that_become_equal_are_warned_of(root, tmp_path):
    path = write_npz(tmp_path / "s.npz", scores=1000 * (SCORES.astype(np.float64) + 0.1))
    assert "ties" in evaluate(path, "toy", "L", logits=True, root=root).warnings[0]


def changed(**cells):
    scores = SCORES.astype(np.float64)
    for place, value in cells.items():
        row, column = map(int, place[1:].split("_"))
        scores[row, column] = value
    return {"scores": scores}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"ids": IDS[:-1], "scores": SCORES[:-1]}, f"no scores of '{IDS[-1]}'.*all 60.*found 59"),
        ({"ids": [*IDS[:-1], IDS[0]]}, f"'{IDS[0]}' twice"),
        ({"ids": [*IDS[:-1], "val001"]}, "'val001', which is not in toy's test split"),
        (changed(r2_3=np.nan), "nan"),
        (changed(r2_3=np.inf), "inf"),
        (changed(r2_3=1.25), f"'{IDS[2]}', class 3 has the score 1.25"),
        (changed(r2_3=-0.5), "score -0.5"),
    ],
    ids=["missing", "double", "foreign", "nan", "inf", "above", "below"],
)
@pytest.mark.parametrize("suffix", WRITERS)
def test_first_offender_is_named_and_nothing_is_written(root, tmp_path, suffix, content, message):
    path = WRITERS[suffix](tmp_path / f"s{suffix}", **content)
    with pytest.raises(DataError, match=message):
        evaluate(path, "toy", "bad", root=root)
    assert not runs_dir(root, "toy").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.txt", "id " + " ".join(CODES) + "\n", "line 1: 'c000' is no number"),
        ("s.txt", "test000 0.5 0.5\n", "line 1: 2 numbers after 'test000'; expected an id and 6"),
        ("s.txt", "\n\n", "is empty"),
        ("s.csv", "id,c000\ntest000,0.5\n", "1 columns beside id; expected 6"),
        ("s.csv", "video,c000\n", "no column 'id'"),
        (
            "s.csv",
            "id," + ",".join([*CODES[:-1], "zzz"]) + "\nx" + ",0" * 6,
            "'zzz' names no class",
        ),
        ("s.csv", "test000" + ",0.5" * 6 + "\n", "no column 'id'"),
        ("s.csv", "id," + ",".join(CODES) + "\n", "has no row"),
        ("s.csv", "id," + ",".join(CODES) + "\nx,1,1,one,1,1,1\n", "line 2: 'one' is no number"),
        ("s.npz", "not a zip", "cannot be read"),
    ],
)
def test_files_of_another_form_are_refused(root, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        evaluate(tmp_path / name, "toy", "bad", root=root)


def test_arrays_of_other_names_are_listed(root, tmp_path):
    np.savez(tmp_path / "s.npz", ids=np.array(["a"]), probs=SCORES)
    with pytest.raises(DataError, match=r"s.npz holds 'ids', 'probs'; expected 'ids' and 'sco"):
        evaluate(tmp_path / "s.npz", "toy", "bad", root=root)


def test_wrong_width_is_refused(root, tmp_path):
    path = write_npz(tmp_path / "s.npz", scores=SCORES[:, :-1])
    with pytest.raises(DataError, match="5 classes; expected 6"):
        evaluate(path, "toy", "bad", root=root)


def test_unknown_suffix_and_missing_file(root, tmp_path):
    with pytest.raises(SettingError, match=r"suffix '.json'; expected .npz, .csv or .txt"):
        evaluate(tmp_path / "s.json", "toy", "bad", root=root)
    for suffix in WRITERS:
        with pytest.raises(DataError, match=r"missing|cannot be read"):
            evaluate(tmp_path / f"nowhere{suffix}", "toy", "bad", root=root)


def test_same_scores_again_change_nothing_other_scores_are_refused(root, tmp_path):
    path = write_npz(tmp_path / "s.npz")
    first = evaluate(path, "toy", "X", root=root)
    assert evaluate(path, "toy", "X", root=root) == first
    write_npz(path, scores=1 - SCORES)
    with pytest.raises(SettingError, match="Other scores are on the board as 'X'"):
        evaluate(path, "toy", "X", root=root)


@pytest.mark.parametrize("name", ["../../x", "a b/c", "..", "Ünïcode 🎉", "-"])
def test_no_name_leaves_the_folder_of_runs(root, tmp_path, name):
    evaluate(write_npz(tmp_path / "s.npz"), "toy", name, root=root)
    (folder,) = runs_dir(root, "toy").iterdir()
    assert load_record(folder).method == name


def test_a_name_that_is_no_text_is_refused(root, tmp_path):
    with pytest.raises(SettingError, match=r"--name is 'n\\udcff', which no file can hold"):
        evaluate(write_npz(tmp_path / "s.npz"), "toy", "n\udcff", root=root)
    assert not runs_dir(root, "toy").exists()


def test_command_puts_it_on_the_board(root, tmp_path):
    path = write_txt(tmp_path / "s.txt")
    arguments = ["evaluate", str(path), "--dataset", "toy", "--name", "Theirs"]
    done = CliRunner().invoke(cli, [*arguments, "--root", str(root)])
    assert done.exit_code == 0, done.output
    assert "Theirs: test mAP 0." in done.output and ", Acc@1 0." in done.output
    frame = leaderboard("toy", root)
    assert (
        frame["acc5"][0] == evaluate_scores(SCORES, BENCHMARK.labels("test"), BENCHMARK.groups).acc5
    )
    assert frame["kind"].tolist() == ["submission", "chance"]
    assert frame["marks"][0] == "submission"


def test_a_name_too_long_for_a_folder_is_a_sentence(root, tmp_path):
    arguments = ["evaluate", str(write_npz(tmp_path / "s.npz")), "--dataset", "toy"]
    arguments += ["--name", "x" * 300, "--root", str(root)]
    refused = CliRunner().invoke(cli, arguments)
    assert refused.exit_code == 1 and "File name too long; check the path" in refused.output


def test_command_exits_1_with_one_sentence(root, tmp_path):
    path = write_txt(tmp_path / "s.txt", ids=["stranger", *IDS[1:]])
    arguments = ["evaluate", str(path), "--dataset", "toy", "--name", "x", "--root", str(root)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert done.output.count("\n") == 1
