"""The packaged numbers are the printed ones, each with its source."""

import doctest
import json
import re
from pathlib import Path

import pytest

from meid_bench.benchmark.longtail import GROUPS
from meid_bench.errors import SettingError
from meid_bench.results import published
from meid_bench.results.metrics import MEASURES
from meid_bench.results.published import (
    caution,
    published_results,
    published_rows,
    published_statistics,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "paper"
PAPER, SUPPLEMENT = SHARED / "published_results.json", SHARED / "meid_supplement.txt"


def test_table_3_is_the_papers():
    rows = published_results("CharadesLT")
    assert [row.method for row in rows] == [
        "LDAM", "EQL", "CBS", "CB Loss", "Mixup", "FrameStack", "MEID",
    ]  # fmt: skip
    meid = rows[-1]
    assert (meid.overall, meid.head, meid.medium, meid.tail) == (0.151, 0.217, 0.151, 0.076)
    assert (meid.encoder, meid.aggregator) == ("ResNet-101", "NeXtVLAD")
    assert "AAAI 2023" in meid.source
    assert [row.note for row in rows] == ["selected on test"] * 6 + ["selected on val"]


@pytest.mark.parametrize("dataset", ["CharadesLT", "CharadesEgoLT"])
def test_what_differs_on_the_same_lists_is_said(dataset):
    said = caution(dataset)
    for words in ("own lists", "24 a second", "200 to 399", "on the test list", "MEID's on val"):
        assert words in said


def test_videolt_says_that_baselines_were_selected_on_test():
    rows = published_results("VideoLT")
    assert "test list" in caution("VideoLT")
    assert all("selected on test" in (row.note or "") for row in rows if row.table == "zoo")
    assert all("published only" in (row.note or "") for row in rows if row.method == "MEDC")


def test_below_the_board_a_result_printed_twice_stands_once_with_its_accuracies():
    rows = published_results("VideoLT")
    assert not [row for row in rows if row.table == "2"]  # the supplement's Table 4 says more
    (meid,) = [row for row in rows if (row.method, row.encoder) == ("MEID", "ResNet-101")]
    assert (meid.table, meid.overall, meid.acc1, meid.acc5) == ("s4", 0.716, 0.728, 0.878)
    ldam = [row for row in rows if (row.method, row.encoder) == ("LDAM", "TSM-ResNet-50")]
    assert [(row.table, row.aggregator, row.tail) for row in ldam] == [
        ("s5", "Nonlinear", 0.436),
        ("s5", "NetVLAD", 0.519),
        ("zoo", "Nonlinear", 0.439),  # printed otherwise, so it stands beside
    ]
    assert "zoo has tail .439" in ldam[0].note
    assert "supplement has tail .436" in ldam[2].note


def test_the_supplements_table_4_is_table_2_with_accuracies():
    def averages(table):
        return [
            (r.method, r.encoder, r.aggregator, r.overall, r.head, r.medium, r.tail, r.note)
            for r in published_rows(table)
        ]

    assert averages("s4") == averages("2")
    assert all(0.6 < row.acc1 < row.acc5 < 0.9 for row in published_rows("s4"))
    assert not [row for table in ("2", "3", "s5") for row in published_rows(table) if row.acc1]


def test_the_supplements_ablations_hold_the_full_models_numbers():
    full = [
        row for row in published_rows("2") if (row.method, row.encoder) == ("MEID", "ResNet-50")
    ]
    for table, label in (("s1", "Mean"), ("s2", "Medium Fusion")):
        (row,) = [row for row in published_rows(table) if row.method == label]
        assert [getattr(row, m) for m in MEASURES] == [getattr(full[0], m) for m in MEASURES]


def test_overall_is_what_its_bins_give():
    """Misread columns would show here; MEDC's rows of Table 2 are printed so (their notes)."""
    classes = published_statistics("VideoLT")
    for table in ("2", "4", "5", "6", "7", "s1", "s2", "s4", "s5", "zoo"):
        for row in published_rows(table):
            total = sum(getattr(classes, name) * getattr(row, name) for name in GROUPS)
            if row.method != "MEDC" or table == "s5":
                assert total / classes.classes == pytest.approx(row.overall, abs=0.0015), row


@pytest.mark.skipif(not SUPPLEMENT.is_file(), reason="the supplement's text is not beside here")
def test_packaged_file_holds_the_supplements_numbers():
    text = SUPPLEMENT.read_text(encoding="utf-8")
    assert [len(published_rows(table)) for table in ("s1", "s2", "s4", "s5")] == [2, 3, 17, 14]
    for row in (row for table in ("s1", "s2", "s4", "s5") for row in published_rows(table)):
        name = "Ours" if row.method == "MEID" else row.method
        numbers = [row.overall, row.head, row.medium, row.tail, row.acc1, row.acc5]
        printed = [f"{number:.3f}" for number in numbers if number is not None]
        assert re.search(rf"\b{name}\b.*\b" + r" +".join(printed), text), row


def test_every_table_is_there():
    assert [len(published_rows(table)) for table in ("2", "3", "4", "5", "6", "7")] == [
        17, 14, 3, 4, 3, 3,
    ]  # fmt: skip
    assert published_statistics("CharadesLT").imbalance_ratio == 61.8


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's tables as data are not beside here")
def test_packaged_file_holds_the_papers_numbers():
    paper = json.loads(PAPER.read_text())
    for table in ("4", "5", "6", "7"):
        printed = [[r.method, {m: getattr(r, m) for m in MEASURES}] for r in published_rows(table)]
        assert printed == paper[f"table{table}"]["rows"]
    for dataset in ("CharadesLT", "CharadesEgoLT"):
        assert {
            row.method: {m: getattr(row, m) for m in MEASURES}
            for row in published_rows("3")
            if row.dataset == dataset
        } == paper["table3"][dataset]
    for table, rows in (("2", paper["table2"]["rows"]), ("zoo", paper["videolt_modelzoo"]["rows"])):
        assert [
            [r.method, r.encoder, r.aggregator, [r.overall, r.head, r.medium, r.tail]]
            for r in published_rows(table)
        ] == [[*names, list(values.values())] for *names, values in rows]


@pytest.mark.parametrize(
    ("call", "name"),
    [(published_rows, "8"), (published_results, "Kinetics"), (published_statistics, "x")],
)
def test_unknown_names_are_refused(call, name):
    with pytest.raises(SettingError, match=name):
        call(name)


def test_examples_in_the_documentation_hold():
    assert doctest.testmod(published).failed == 0
