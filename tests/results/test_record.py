"""A record survives its file to the digit, and whatever does not belong in it is refused."""

import json
import zipfile
from dataclasses import asdict, replace

import numpy as np
import pytest

from meid_bench.codec import json_line
from meid_bench.errors import DataError
from meid_bench.results.record import (
    CURVE,
    RECORD,
    SCORES,
    CurvePoint,
    load_record,
    load_result,
    load_scores,
    read_curve,
    read_records,
    save_record,
    save_scores,
)
from tests.made_records import make_result, make_submission


@pytest.fixture
def result():
    return make_result(seed=3, missing={"test": ("V1", "V2")}, commit=None)


def test_round_trip_is_exact(result, tmp_path):
    save_record(result, tmp_path)
    assert load_result(tmp_path) == result
    assert load_result(tmp_path / RECORD) == result


def test_record_is_strict_json_with_null_for_what_is_not_known(result, tmp_path):
    save_record(result, tmp_path)
    data = json.loads((tmp_path / RECORD).read_text(), parse_constant=pytest.fail)
    assert data["commit"] is None
    assert data["schema"] == 1
    assert set(data) == {"kind", *asdict(result)}


def changed(result, **changes):
    return {"kind": "run"} | json.loads(json.dumps(asdict(result))) | changes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"seed": "0"}, "seed must be int, not '0'"),
        ({"seed": True}, "seed must be int, not True"),
        ({"seed": 1.5}, "seed must be int"),
        ({"quick": 0}, "quick must be bool"),
        ({"protocol": "mine"}, "protocol must be one of paper, equal, not 'mine'"),
        ({"kind": "walk"}, "its kind is walk, expected one of run, submission"),
        ({"warnings": "one"}, "warnings must be a list"),
        ({"warnings": [1]}, r"warnings\[0\] must be str"),
        ({"missing": []}, "missing must be an object"),
        ({"test": None}, "test must be an object"),
        ({"trials": [{"settings": {"lr": 0.1}}]}, r"missing key 'trials\[0\].val_map'"),
        ({"seconds": float("nan")}, "seconds must be finite"),
        ({"settings": {"a": [float("inf")]}}, r"settings.a\[0\] must be finite"),
        ({"schema": 2}, "has schema 2; this meid-bench reads schema 1"),
    ],
)
def test_what_does_not_fit_is_named(result, tmp_path, change, message):
    (tmp_path / RECORD).write_text(json.dumps(changed(result, **change)))
    with pytest.raises(DataError, match=message):
        load_result(tmp_path)


@pytest.mark.parametrize("name", ["seed", "commit", "test"])
def test_missing_key_is_refused_even_where_null_is_allowed(result, tmp_path, name):
    data = changed(result)
    del data[name]
    (tmp_path / RECORD).write_text(json.dumps(data))
    with pytest.raises(DataError, match=f"missing key '{name}'"):
        load_result(tmp_path)


def test_a_submission_is_read_as_one_and_is_no_run(tmp_path):
    submission = make_submission()
    save_record(submission, tmp_path)
    assert load_record(tmp_path) == submission
    with pytest.raises(DataError, match="is a submission: it has scores, but no model"):
        load_result(tmp_path)


def test_a_nan_is_never_written(result, tmp_path):
    with pytest.raises(ValueError, match=r"diagnostics\.a must be finite, not nan"):
        save_record(replace(result, diagnostics={"a": float("nan")}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_broken_records_are_named_and_left_out(result, tmp_path):
    save_record(result, tmp_path / "good")
    for name, text in {"cut": "{", "list": "[]", "empty": "", "binary": "\x00"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / RECORD).write_text(text)
    (tmp_path / "unfinished").mkdir()
    records, problems = read_records(tmp_path)
    assert list(records) == [tmp_path / "good"]
    assert len(problems) == 4
    assert all(str(tmp_path) in problem for problem in problems)
    assert read_records(tmp_path / "nowhere") == ({}, [])


def test_scores_round_trip(tmp_path):
    scores = np.random.default_rng(0).random((3, 4), dtype=np.float32)
    save_scores(tmp_path, ["a", "bb", "ü"], scores)
    ids, loaded = load_scores(tmp_path)
    assert ids == ("a", "bb", "ü")
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, scores)


def test_scores_are_never_unpickled(tmp_path):
    np.savez(tmp_path / SCORES, ids=np.array(["a"], dtype=object), scores=np.zeros((1, 2)))
    with pytest.raises(DataError, match="cannot be read"):
        load_scores(tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"ids": np.array(["a"])},
        {"ids": np.array([1]), "scores": np.zeros((1, 2))},
        {"ids": np.array(["a"]), "scores": np.zeros(2)},
        {"ids": np.array(["a"]), "scores": np.zeros((2, 2))},
    ],
    ids=["no scores", "numbers", "one axis", "lengths"],
)
def test_scores_of_another_shape_are_refused(tmp_path, arrays):
    np.savez(tmp_path / SCORES, **arrays)
    with pytest.raises(DataError, match="scores"):
        load_scores(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"id,score\n"])
def test_damaged_scores_are_refused(tmp_path, content):
    (tmp_path / SCORES).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        load_scores(tmp_path)


def test_curve_round_trip(tmp_path):
    points = [
        CurvePoint("one", epoch, 1e-3, None, {"overall": 0.1, "tail": None}, {"A_std": 0.5})
        for epoch in range(3)
    ]
    (tmp_path / CURVE).write_text("".join(map(json_line, points)))
    assert read_curve(tmp_path) == points


def test_damaged_curve_names_the_line(tmp_path):
    good = json_line(CurvePoint("one", 0, 1e-3, 0.1, {}, {}))
    (tmp_path / CURVE).write_text(good + '{"stage": "one"}\n')
    with pytest.raises(DataError, match=r"line 2 is damaged .missing key 'epoch'"):
        read_curve(tmp_path)


def test_members_that_are_no_arrays_and_files_that_are_no_npz_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as file:
        file.writestr("ids", "abc")
        file.writestr("scores", "defg")
    with pytest.raises(DataError, match="expected ids"):
        load_scores(tmp_path / "odd.npz")
    (tmp_path / "text.npz").write_text("ids, scores")
    with pytest.raises(DataError, match="it is no zip"):
        load_scores(tmp_path / "text.npz")
    with pytest.raises(DataError, match="is missing"):
        load_scores(tmp_path / "missing.npz")
