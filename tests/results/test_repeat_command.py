"""The line that repeats a run says what differs from the defaults, and is safe to paste."""

import shlex

import pytest

from meid_bench.codec import Text, decode_value
from meid_bench.errors import SettingError
from meid_bench.methods.registry import find_method
from meid_bench.methods.settings import parse_assignments
from meid_bench.results.repeat_command import repeat_command
from meid_bench.training.protocol import resolve
from tests.made_records import make_result, make_submission


def made(**changes):
    settings = resolve(find_method("plain"), "nextvlad", None, {}).named()
    return make_result(**({"settings": settings} | changes)), settings


def test_defaults_are_not_named():
    record, _ = made(seed=3)
    assert repeat_command(record) == (
        "meid-bench run --method plain --dataset toy --features store --aggregator nextvlad "
        "--preset default --seed 3"
    )


def test_changes_are_named_as_set_reads_them():
    _, settings = made()
    changes = {"milestones": [3, 6], "lr": 0.01}
    record, _ = made(settings=settings | changes, changed=tuple(changes))
    line = repeat_command(record)
    assert "--set milestones=3,6" in line
    assert "--set lr=0.01" in line
    assert line.count("--set") == 2
    again = resolve(find_method("plain"), "nextvlad", None, {"milestones": "3,6", "lr": "0.01"})
    assert again.method.milestones == (3, 6)


def test_lists_of_text_and_dictionaries_are_named_as_set_reads_them():
    odd = {"names": ["a,b", "c"], "weights": {"a": 0.5}, "maybe": None, "text": "null"}
    kinds = {"names": list[str], "weights": dict[str, float], "maybe": int | None, "text": str}
    line = shlex.split(repeat_command(make_result(settings=odd, changed=tuple(odd))))
    given = parse_assignments([text for text in line if "=" in text])
    assert {
        name: decode_value(kind, Text(given[name]), name) for name, kind in kinds.items()
    } == odd


def test_what_no_record_can_hold_is_refused_before_training():
    for name, value in {"clip": "inf", "lr": "nan", "milestones": "1,x"}.items():
        with pytest.raises(SettingError, match=f"Setting {name}.* is"):
            resolve(find_method("plain"), "nextvlad", None, {name: value})


def test_everything_else_that_a_run_was_asked_for():
    record, _ = made(network="e1", quick=True, missing={"train": ("a",), "test": ("b", "c")})
    line = repeat_command(record)
    assert "--network e1" in line
    assert "--quick" in line
    assert "--allow-missing 3" in line


def test_a_foreign_method_is_not_imported_and_its_name_is_quoted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    name = "evil:X; rm -rf $HOME"
    line = repeat_command(make_result(method=name, settings={"a": None}, changed=("a",)))
    assert shlex.split(line)[3] == name
    assert line.endswith("--set a=none")


def test_a_submission_has_no_command():
    assert repeat_command(make_submission()) is None
