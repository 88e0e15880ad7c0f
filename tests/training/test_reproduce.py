"""Reproduced tables: which runs, what is missing, what is printed beside the paper's numbers."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from baselines.ldam import LDAM
from meid.method import MEID
from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.cli.main import cli
from meid_bench.errors import SettingError
from meid_bench.features.npy_store import encoder_of
from meid_bench.methods.registry import find_method
from meid_bench.results.published import published_rows
from meid_bench.results.rows import make_row
from meid_bench.training.many import Outcome
from meid_bench.training.paper_table import TABLES, find_table
from meid_bench.training.protocol import resolve
from meid_bench.training.reproduce import Reproduced, TableRequest, available, wanted_blocks
from meid_bench.training.reproduce import reproduce as run_table
from meid_bench.training.reproduce_text import format_reproduced
from meid_bench.training.request import Request
from tests.made_records import make_result
from tests.toy import toy_benchmark, toy_features, write_features

ONE = ["--seeds", "0", "--set", "epochs=1", "--set", "milestones=", "--set", "batch=16"]


def write(root: Path, name: str, published: str | None, encoder: str, seed: int = 0) -> Benchmark:
    """The toy under a real benchmark's name; another seed shuffles which video is where.

    Its six subjects stand on every side, or on one where the lists are not a paper's.
    """
    toy = toy_benchmark()
    videos = [video for split in toy.splits.values() for video in split]
    order = np.random.default_rng(seed).permutation(len(videos)) if seed else range(len(videos))
    mixed, splits, start = [videos[i] for i in order], {}, 0
    for split, members in toy.splits.items():
        splits[split] = tuple(
            replace(video, subject=f"{'' if published else split}S{number % 6}")
            for number, video in enumerate(mixed[start : start + len(members)])
        )
        start += len(members)
    title = published or name
    benchmark = replace(toy, name=name, title=title, published=published, splits=splits)
    items = {}
    for number, split in enumerate(splits):
        features = toy_features(benchmark.labels(split), number)
        items |= dict(zip(benchmark.ids(split), features, strict=True))
    write_features(root, benchmark, items, encoder)
    return benchmark


def reproduce(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        cli, ["reproduce", *arguments, "--root", str(root), "--device", "cpu"]
    )


def cells(output: str, label: str) -> list[str]:
    """Our line of that label, which stands above the paper's, without the deviations."""
    line = next(line for line in output.splitlines() if line.startswith(f"{label} "))
    return re.sub(r" ± \S+", "", line.removeprefix(label)).split()


def difference(output: str, label: str) -> tuple[float, float]:
    """Our overall mAP of that label, and the column of differences."""
    values = cells(output, label)
    return float(values[0]), float(next(value for value in values if value[0] in "+-"))


@pytest.mark.parametrize("table", TABLES)
def test_every_published_row_has_a_run_or_a_reason_why_not(table: str) -> None:
    ours, reasons = set(), set()
    for block in TABLES[table]:
        place = (block.dataset, block.encoder, block.aggregator)
        ours |= {(*place, variant.label) for variant in block.variants}
        reasons |= {(*place, label) for label in block.left_out}
    assert not ours & reasons
    for row in published_rows(table):
        aggregator = (row.aggregator or "nonlinear").lower()
        built = (row.dataset.lower(), encoder_of(row.encoder), aggregator, row.method)
        assert built in ours | reasons, built


@pytest.mark.parametrize(
    ("name", "table"),
    [("table3", "3"), ("3", "3"), ("Table 3", "3"), ("table1", "1"), ("supplement4", "s4"),
     ("s4", "s4"), ("supplement table 4", "s4"), ("S1", "s1")],
)  # fmt: skip
def test_a_table_has_several_names(name: str, table: str) -> None:
    assert find_table(name) == table


@pytest.mark.parametrize("name", ["table8", "s3", "4s", "", "table"])
def test_other_names_are_refused_with_all_that_are_known(name: str) -> None:
    with pytest.raises(SettingError, match=r"known: table1, table2, .*, table7, supplement1, "):
        find_table(name)


def test_every_variant_is_a_method_with_settings_that_it_has() -> None:
    for blocks in TABLES.values():
        for block in blocks:
            for variant in block.variants:
                kind = find_method(variant.method)
                resolve(kind, block.aggregator, "videolt", variant.settings)


def test_other_benchmarks_aggregators_and_splits() -> None:
    blocks = wanted_blocks(TableRequest("5", datasets=("charadeslt", "mine")))
    assert [block.dataset for block in blocks] == ["charadeslt", "mine"]
    blocks = wanted_blocks(TableRequest("2", aggregators=("nextvlad",)))
    assert [(b.encoder, b.aggregator) for b in blocks] == [
        ("resnet50", "nextvlad"),
        ("resnet101", "nextvlad"),
    ]
    assert len(blocks[1].variants) == 9
    nonlinear, netvlad = wanted_blocks(TableRequest("2", datasets=("mine",)))
    assert (nonlinear.dataset, nonlinear.aggregator, len(nonlinear.variants)) == (
        "mine", "nonlinear", 9,
    )  # fmt: skip
    assert (netvlad.encoder, len(netvlad.variants)) == (nonlinear.encoder, 2)
    (half,) = wanted_blocks(TableRequest("3", datasets=("charadesegolt",)))
    assert half == TABLES["3"][1]


def test_all_splits_add_the_subject_disjoint_lists() -> None:
    names = ["charadeslt", "charadeslt-sd", "charadesegolt", "charadesegolt-sd"]
    assert [block.dataset for block in wanted_blocks(TableRequest("3", all_splits=True))] == names
    blocks = wanted_blocks(TableRequest("5", datasets=("charadeslt", "mine"), all_splits=True))
    assert [block.dataset for block in blocks] == ["charadeslt", "charadeslt-sd", "mine"]
    with pytest.raises(SettingError, match="Table 5 is of videolt: name one with --dataset"):
        wanted_blocks(TableRequest("5", all_splits=True))


def test_what_is_missing_is_said_first_with_the_command_that_makes_it(tmp_path: Path) -> None:
    nothing = reproduce(tmp_path, "table3")
    assert nothing.exit_code == 1
    assert "run `meid-bench build charadeslt`" in nothing.output
    assert "Error: Nothing of Table 3 can be run" in nothing.output
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    done = reproduce(tmp_path, "table3", "--aggregator", "nonlinear", *ONE)
    assert done.exit_code == 0, done.output
    missing, first_run = (
        done.output.index("run `meid-bench build charadesegolt`"),
        done.output.index("[1/9] charadeslt, nonlinear: plain BCE seed 0"),
    )
    assert missing < first_run


def test_a_setting_that_a_row_has_not_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    done = reproduce(tmp_path, "table3", *ONE, "--set", "reweight_epoch=1")
    assert done.exit_code == 1 and "[1/" not in done.output
    assert "holds for every row of a table, and not for plain BCE, EQL, CBS," in done.output
    assert "There is no setting 'reweight_epoch'" in done.output
    with pytest.raises(SettingError, match="Setting lr is chosen by protocol equal"):
        wanted_blocks(TableRequest("3", protocol="equal", settings={"lr": "0.1"}))


def test_features_of_the_tables_encoder_are_chosen(tmp_path: Path) -> None:
    for encoder in ("resnet50", "resnet101"):
        write(tmp_path, "charadeslt", "CharadesLT", encoder)
    parts, _ = available(TableRequest("3"), tmp_path)
    assert [part.store.folder.name.split("-")[0] for part in parts] == ["resnet101"]
    parts, _ = available(TableRequest("3", features="resnet50"), tmp_path)
    assert [part.store.folder.name.split("-")[0] for part in parts] == ["resnet50"]


QUICK_TABLE3 = ["table3", "--aggregator", "nonlinear", "--quick", *ONE]


@pytest.fixture(scope="module")
def table3(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("table3")
    write(root, "charadeslt", "CharadesLT", "resnet101")
    done = reproduce(root, *QUICK_TABLE3)
    assert done.exit_code == 0, done.output
    return root, done.output


def test_table_3_has_all_nine_methods_and_says_quick_in_every_row(table3: tuple[Path, str]) -> None:
    _, output = table3
    ours = output[output.index("CharadesLT, nonlinear") :]
    for name in ("plain BCE", "LDAM", "EQL", "CBS", "SRS", "CB Loss", "Mixup", "FrameStack"):
        assert f"\n{name} " in ours, name
    rows = [line for line in ours.splitlines() if "QUICK" in line]
    assert len(rows) == 9
    assert sum("QUICK: 2 epochs" in row for row in rows) == 1  # MEID has two stages


def test_on_the_authors_lists_the_difference_is_shown_and_on_others_nothing_is(
    tmp_path: Path,
) -> None:
    """The lists decide, not the name: only the benchmark that declares the paper's has them."""
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    write(tmp_path, "mine", None, "resnet101")
    asked = TableRequest("3", datasets=("charadeslt", "mine"), seeds=(0,))
    row = make_row({tmp_path: make_result(method="ldam")})
    parts, _ = available(asked, tmp_path)
    theirs, mine = (format_reproduced(Reproduced(part, {"LDAM": row}), asked) for part in parts)
    overall, shown = difference(theirs, "LDAM")
    assert shown == pytest.approx(overall - 0.114, abs=0.0011)
    assert theirs.count("Published for CharadesLT") == 1
    assert "authors' own lists, which are these" in theirs and re.search(r"\nMEID +0\.151", theirs)
    assert theirs.count("\nMEID ") == 1  # CharadesLT's, not CharadesEgoLT's too
    for words in ("Published", "ours - paper", "not in the paper's table"):
        assert words not in mine
    quick = make_row({tmp_path: make_result(method="ldam", quick=True)})
    shortened = format_reproduced(Reproduced(parts[0], {"LDAM": quick}), asked)
    assert "Published" in shortened and "ours - paper" not in shortened


def test_the_heading_says_what_protocol_the_rows_ran_under(tmp_path: Path) -> None:
    write(tmp_path, "videolt", "VideoLT", "resnet50")
    (part,), _ = available(TableRequest("s1"), tmp_path)

    def heading(*changed: tuple[str, ...]) -> str:
        rows = {
            variant.label: make_row(
                {tmp_path: make_result(settings=dict.fromkeys(names, 1), changed=names)}
            )
            for variant, names in zip(part.block.variants, changed, strict=False)
        }
        text = format_reproduced(Reproduced(part, rows), TableRequest("s1"))
        return re.split("protocol |: test mAP", text)[1]

    assert heading() == heading(("static",), ("static",)) == "paper"  # the table's own settings
    assert heading(("batch",), ("static", "batch")) == "changed, as every row names"
    assert heading((), ("batch",)) == "paper, or changed where a row names settings"


def test_the_supplements_tables_run_what_our_settings_can(tmp_path: Path) -> None:
    write(tmp_path, "videolt", "VideoLT", "resnet50")
    (part,), _ = available(TableRequest("s1"), tmp_path)
    rows = {}
    for variant in part.block.variants:
        made = make_result(method="meid-authors", settings=variant.settings, changed=("static",))
        rows[variant.label] = make_row({tmp_path: made})
    text = format_reproduced(Reproduced(part, rows), TableRequest("s1"))
    for label, published in (("Summation", 0.618), ("Mean", 0.619)):
        overall, shown = difference(text, label)
        assert shown == pytest.approx(overall - published, abs=0.0011)


def test_what_our_settings_cannot_run_is_published_only(tmp_path: Path) -> None:
    write(tmp_path, "videolt", "VideoLT", "resnet50")
    (part,), _ = available(TableRequest("s2"), tmp_path)
    assert [variant.label for variant in part.block.variants] == ["Medium Fusion"]
    text = format_reproduced(Reproduced(part, {}), TableRequest("s2"))
    for label in ("Early Fusion", "Late Fusion"):
        line = next(line for line in text.splitlines() if line.startswith(label))
        assert "published only: meid has no setting for where motion is taken in" in line


def test_published_accuracies_are_printed_beside_the_averages(tmp_path: Path) -> None:
    write(tmp_path, "videolt", "VideoLT", "resnet50")
    (part, *_), _ = available(TableRequest("s4"), tmp_path)
    text = format_reproduced(Reproduced(part, {}), TableRequest("s4"))
    header = next(line for line in text.splitlines() if "Acc@1" in line)
    assert header.split()[:7] == ["method", "overall", "head", "medium", "tail", "Acc@1", "Acc@5"]
    (meid,) = [line for line in text.splitlines() if line.startswith("MEID ")]
    assert meid.split()[1:7] == ["0.619", "0.750", "0.661", "0.524", "0.698", "0.840"]


def test_quick_records_stay_off_the_board_and_are_not_made_twice(table3: tuple[Path, str]) -> None:
    root, _ = table3
    arguments = ["leaderboard", "--dataset", "charadeslt", "--root", str(root)]
    board = CliRunner().invoke(cli, [*arguments, "--format", "json"])
    text = board.output[board.output.index("{") :]
    assert not [row for row in json.loads(text)["rows"] if row["kind"] == "run"]
    again = reproduce(root, *QUICK_TABLE3)
    assert again.exit_code == 0, again.output
    assert again.output.count("was there already") == 9


def test_videolt_has_a_difference_column_and_medc_is_published_only(tmp_path: Path) -> None:
    write(tmp_path, "videolt", "VideoLT", "resnet50")
    parts, (missing,) = available(TableRequest("2"), tmp_path)
    assert "videolt with resnet101 features: There is no feature store" in missing
    shorter = make_result(method="eql", settings={"epochs": 1}, changed=("epochs",))
    rows = {
        "LDAM": make_row({tmp_path: make_result(method="ldam", preset="videolt")}),
        "EQL": make_row({tmp_path: shorter}),
    }
    text = format_reproduced(Reproduced(parts[0], rows), TableRequest("2"))
    overall, shown = difference(text, "LDAM")
    assert shown == pytest.approx(overall - 0.502, abs=0.0011)
    assert "preset videolt" in " ".join(cells(text, "LDAM"))
    assert not [value for value in cells(text, "EQL") if value[0] in "+-"]  # not as published
    (medc,) = [row for row in text.splitlines() if "MEDC" in row and "0.567" not in row]
    assert medc.split() == ["MEDC", "published", "only:", "no", "public", "code"]


def test_seeds_become_a_spread(tmp_path: Path) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    arguments = ["--dataset", "charadeslt", "--aggregator", "nonlinear", *ONE]
    done = reproduce(tmp_path, "table6", *arguments, "--seeds", "0,1")
    assert done.exit_code == 0, done.output
    (line,) = [row for row in done.output.splitlines() if row.startswith("E1+E1 ")]
    assert line.count("±") == 6 and cells(line, "E1+E1")[6] == "2"


def test_all_splits_show_the_gain_by_the_leak(tmp_path: Path) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    write(tmp_path, "charadeslt-sd", None, "resnet101", seed=2)
    arguments = ["--splits", "all", "--aggregator", "nonlinear", *ONE]
    done = reproduce(tmp_path, "table6", "--dataset", "charadeslt", *arguments)
    assert done.exit_code == 0, done.output
    official, disjoint, leak = re.split(
        "charadeslt-sd, nonlinear, feat|Gain by the leak", done.output
    )
    assert "charadeslt: 6 of 6 subjects of test are in train too" in leak
    assert "charadeslt-sd: 0 of 6 subjects of test are in train too" in leak
    assert "One seed: " in leak and "made differently" not in leak
    for label in ("E1", "E1+E1", "E1+E2"):
        here, there = cells(official, label)[0], cells(disjoint, label)[0]
        shown = cells(leak, label)
        assert shown[:2] == [here, there]
        low, high = (float(value.strip("[,]")) for value in shown[3:])
        assert float(shown[2]) == pytest.approx(float(here) - float(there), abs=0.0011)
        assert low < float(shown[2]) < high
    means = [float(cells(leak, label)[2]) for label in ("E1", "E1+E1", "E1+E2")]
    assert float(cells(leak, "mean of all rows")[2]) == pytest.approx(sum(means) / 3, abs=0.0011)


def test_a_preset_is_every_rows_that_has_it(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    monkeypatch.setattr(LDAM, "presets", {"small": {"batch": 12, "epochs": 1}})
    monkeypatch.setattr(MEID, "presets", {"small": {"method": "cbs"}})
    asked = TableRequest("3", datasets=("charadeslt",), aggregators=("nonlinear",), preset="small")
    (part,), _ = available(asked, tmp_path)
    rows = {
        "LDAM": make_row({tmp_path: make_result(method="ldam", preset="small")}),
        "EQL": make_row({tmp_path: make_result(method="eql")}),
        "MEID": make_row({tmp_path: make_result(method="cbs")}),
    }
    noted: list[Request] = []

    def note(requests: Sequence[Request]) -> list[Outcome]:
        noted.extend(requests)
        return [Outcome(request, error="not run") for request in requests]

    run_table(asked, [part], note)
    assert {request.method: request.preset for request in noted if request.preset} == {
        "ldam": "small",
        "meid": "small",
    }
    assert len(noted) == 9 * 3
    lines = format_reproduced(Reproduced(part, rows), asked).splitlines()
    said = {line.split()[0]: line for line in lines[2:7]}
    assert "preset small" in said["LDAM"] and "has no" not in said["LDAM"]
    assert "has no preset small" in said["EQL"]
    assert "method cbs" in said["MEID"]


def test_rows_whose_settings_a_preset_does_not_have_are_not_run(
    tmp_path: Path, monkeypatch: Any
) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    monkeypatch.setattr(MEID, "presets", {"small": {"method": "cbs"}})
    asked = TableRequest("6", datasets=("charadeslt",), preset="small")
    (part,), _ = available(asked, tmp_path)
    assert [variant.label for variant in part.block.variants] == ["E1+E2"]
    text = format_reproduced(Reproduced(part, {}), asked)
    for label in ("E1 ", "E1+E1 "):
        (line,) = [line for line in text.splitlines() if line.startswith(label)]
        assert "not run with preset small: There is no setting 'second'" in line


def test_a_preset_that_no_row_has_is_refused() -> None:
    with pytest.raises(SettingError, match="'videolr'; did you mean 'videolt'"):
        wanted_blocks(TableRequest("3", preset="videolr"))


def test_a_failed_row_is_left_out_and_named(tmp_path: Path) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    arguments = ["--dataset", "charadeslt", "--aggregator", "nonlinear", *ONE]
    done = reproduce(tmp_path, "table5", *arguments, "--set", "beta=0.4")
    assert done.exit_code == 1  # a single expert has no use for it
    assert "1 of 4 runs failed" in done.output
    ours = done.output[done.output.index("test mAP, mean") :]
    assert "\nCFS " in ours and "\nE1 (no second expert) " not in ours


def test_table_1_and_bad_input(tmp_path: Path) -> None:
    write(tmp_path, "charadeslt", "CharadesLT", "resnet101")
    done = reproduce(tmp_path, "table1")
    assert done.exit_code == 0, done.output
    assert "CharadesLT, built" in done.output and "CharadesLT, paper" in done.output
    assert "run `meid-bench build videolt`" in done.output
    unknown = reproduce(tmp_path, "table8")
    assert unknown.exit_code == 1 and "There is no table 'table8'" in unknown.output
    other = reproduce(tmp_path, "table3", "--aggregator", "nextvald")
    assert other.exit_code == 1 and "did you mean 'nextvlad'?" in other.output
    seeds = reproduce(tmp_path, "table3", "--seeds", "a")
    assert seeds.exit_code == 2 and "no list of whole numbers" in seeds.output
