"""The packaged numbers are the printed ones, each with its source."""

import doctest
import json
from pathlib import Path

import pytest

from meid_bench.board import published
from meid_bench.board.published import (
    caution,
    published_results,
    published_rows,
    published_statistics,
)
from meid_bench.errors import SettingError

PAPER = Path(__file__).resolve().parents[2] / "shared" / "paper" / "published_results.json"


def test_table_3_is_the_papers():
    rows = published_results("CharadesLT")
    assert [row.method for row in rows] == [
        "LDAM", "EQL", "CBS", "CB Loss", "Mixup", "FrameStack", "MEID",
    ]  # fmt: skip
    meid = rows[-1]
    assert (meid.overall, meid.head, meid.medium, meid.tail) == (0.151, 0.217, 0.151, 0.076)
    assert (meid.encoder, meid.aggregator) == ("ResNet-101", "NeXtVLAD")
    assert "AAAI 2023" in meid.source
    assert "never published" in caution("CharadesLT")


def test_videolt_says_that_baselines_were_selected_on_test():
    rows = published_results("VideoLT")
    assert "test list" in caution("VideoLT")
    assert all("selected on test" in (row.note or "") for row in rows if row.table == "zoo")
    assert all("published only" in (row.note or "") for row in rows if row.method == "MEDC")


def test_every_table_is_there():
    assert [len(published_rows(table)) for table in ("2", "3", "4", "5", "6", "7")] == [
        17, 14, 3, 4, 3, 3,
    ]  # fmt: skip
    assert published_statistics("CharadesLT").imbalance_ratio == 61.8


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's tables as data are not beside here")
def test_packaged_file_holds_the_papers_numbers():
    paper = json.loads(PAPER.read_text())
    for table in ("4", "5", "6", "7"):
        printed = [
            [r.method, {m: getattr(r, m) for m in ("overall", "head", "medium", "tail")}]
            for r in published_rows(table)
        ]
        assert printed == paper[f"table{table}"]["rows"]
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
