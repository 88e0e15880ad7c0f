"""The authors' lists of CharadesLT and CharadesEgoLT: what they are, and what their cards say.

Everything here is counted again from the official annotation files and the authors' own lists,
which may not be passed on; where they are not at hand these tests are skipped.
"""

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from meid_bench.benchmark.benchmark import SPLITS, Benchmark, load_benchmark
from meid_bench.benchmark.build import build
from meid_bench.benchmark.spec import find_spec, load_spec
from meid_bench.cli.main import cli
from meid_bench.errors import DataError

REAL = Path(__file__).parents[3] / "shared" / "data"
SOURCES = {"charadeslt": REAL / "charades", "charadesegolt": REAL / "charadesego"}
NAMES = [*SOURCES, *(f"{name}-sd" for name in SOURCES)]

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="needs the official annotation files")


def source(name: str) -> Path:
    return SOURCES[name.removesuffix("-sd")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Benchmark]:
    root = tmp_path_factory.mktemp("root")
    done: dict[str, Benchmark] = {}

    def get(name: str) -> Benchmark:
        if name not in done:
            done[name] = build(name, root, source(name), "none").benchmark
        return done[name]

    return get


def authors(name: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Split to id to labels, from the authors' lists, in their order."""
    stem = {"charadeslt": "CharadesLT", "charadesegolt": "CharadesEgoLT"}[name]
    lists = {}
    for split in SPLITS:
        lines = (REAL / "meid_authors" / f"{stem}_{split}.txt").read_text().splitlines()
        lists[split] = {
            video: tuple(sorted(map(int, labels.split(","))))
            for video, labels in map(str.split, lines)
        }
    return lists


@pytest.mark.parametrize("name", SOURCES)
def test_ids_and_labels_are_the_authors(name: str, built: Callable[[str], Benchmark]) -> None:
    benchmark, lists = built(name), authors(name)
    for split in SPLITS:
        assert benchmark.ids(split) == tuple(lists[split])
        found = {video.id: video.labels for video in benchmark.splits[split]}
        assert found == lists[split]


@pytest.mark.parametrize("name", SOURCES)
def test_the_specification_states_the_sums_of_the_authors_files(name: str) -> None:
    origin = load_spec(find_spec(name)).lists_origin
    assert origin is not None and origin.licence == "Apache-2.0"
    for split in SPLITS:
        file = origin.files[split]
        body = (REAL / "meid_authors" / Path(file.path).name).read_bytes()
        assert hashlib.sha256(body).hexdigest() == file.sha256
    notice = (find_spec(name) / "NOTICE").read_text()
    assert origin.url in notice and origin.commit in notice


@pytest.mark.parametrize("name", SOURCES)
def test_every_line_of_table_1_agrees(name: str, tmp_path: Path) -> None:
    arguments = ["build", name, "--source", str(source(name)), "--videos", "none"]
    output = CliRunner().invoke(cli, [*arguments, "--root", str(tmp_path)])
    assert output.exit_code == 0, output.output
    assert output.output.count(" yes") == 9
    assert " NO" not in output.output


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_fingerprint_is_that_of_the_official_files(
    name: str, built: Callable[[str], Benchmark]
) -> None:
    assert built(name).fingerprint == load_spec(find_spec(name)).fingerprint


def official_part(name: str) -> dict[str, str]:
    """Id to the official file, "train" or "test", that its row is in."""
    if name == "charadeslt":
        texts = {
            part: (source(name) / f"Charades_v1_{part}.csv").read_text()
            for part in ("train", "test")
        }
    else:
        with zipfile.ZipFile(source(name) / "CharadesEgo.zip") as archive:
            texts = {
                part: archive.read(f"CharadesEgo/CharadesEgo_v1_{part}.csv").decode()
                for part in ("train", "test")
            }
    return {
        row["id"]: part for part, text in texts.items() for row in csv.DictReader(io.StringIO(text))
    }


@pytest.mark.parametrize("name", SOURCES)
def test_the_table_of_the_card(name: str, built: Callable[[str], Benchmark]) -> None:
    benchmark, part = built(name), official_part(name)
    card = (find_spec(name) / "README.md").read_text()
    videos = {split: benchmark.splits[split] for split in SPLITS}
    rows = {
        "videos": [f"{len(videos[s]):,}" for s in SPLITS],
        "of them from the official train / test file": [
            " / ".join(f"{sum(part[v.id] == p for v in videos[s]):,}" for p in ("train", "test"))
            for s in SPLITS
        ],
        "subjects": [str(len({v.subject for v in videos[s]})) for s in SPLITS],
        "labels per video": [
            f"{sum(len(v.labels) for v in videos[s]) / len(videos[s]):.3f}" for s in SPLITS
        ],
        "videos of the rarest class": [str(benchmark.counts_in(s).min()) for s in SPLITS],
    }
    for what, cells in rows.items():
        assert f"| {what} | {' | '.join(cells)} |" in card
    counts = benchmark.counts
    assert f"largest\n{counts.max()}, smallest {counts.min()}" in card
    together = [*videos["train"], *videos["test"]]
    assert f"{sum(len(v.labels) for v in together) / len(together):.3f}" in card


def common(benchmark: Benchmark, one: str, other: str, key: str) -> int:
    values = [{getattr(v, key) for v in benchmark.splits[s]} - {None} for s in (one, other)]
    return len(values[0] & values[1])


def test_what_charadeslt_leaks(built: Callable[[str], Benchmark]) -> None:
    benchmark = built("charadeslt")
    card = (find_spec("charadeslt") / "README.md").read_text()
    trained = {video.subject for video in benchmark.splits["train"]}
    seen = sum(video.subject in trained for video in benchmark.splits["test"])
    assert (common(benchmark, "train", "test", "subject"), seen) == (124, 997)
    assert "**124 of the 139 subjects of test are also in train, and 997 of its 1,012" in card
    assert common(benchmark, "train", "val", "subject") == 105
    assert common(benchmark, "train", "test", "script") == 3


def test_what_charadesegolt_leaks(built: Callable[[str], Benchmark]) -> None:
    benchmark = built("charadesegolt")
    card = (find_spec("charadesegolt") / "README.md").read_text()
    trained = {video.subject for video in benchmark.splits["train"]}
    seen = sum(video.subject in trained for video in benchmark.splits["test"])
    assert (common(benchmark, "train", "test", "subject"), seen) == (64, 741)
    assert common(benchmark, "train", "test", "pair") == 109
    assert "**64 of the 69 subjects of test are also in train, and 741 of its 748" in card
    assert "109\nrecordings have one view in train and the other in test**" in card
    assert common(benchmark, "train", "val", "subject") == 63
    assert common(benchmark, "train", "val", "pair") == 93
    assert common(benchmark, "train", "test", "script") == 135


@pytest.mark.parametrize("name", NAMES)
def test_the_subject_disjoint_lists_leak_nothing(
    name: str, built: Callable[[str], Benchmark]
) -> None:
    pairs = [("train", "val"), ("train", "test"), ("val", "test")]
    shared = [
        common(built(name), *pair, key) for pair in pairs for key in ("subject", "script", "pair")
    ]
    assert (sum(shared) == 0) == name.endswith("-sd")


def test_a_zip_saved_anew_and_one_altered(tmp_path: Path) -> None:
    """The genuine csv has other cells in a column that nobody reads than the copy at hand."""
    files = {path.name: path.read_text() for path in source("charadeslt").glob("Charades_v1_*")}
    folder, root = tmp_path / "source", tmp_path / "root"
    folder.mkdir()

    def write(**changed: str) -> None:
        with zipfile.ZipFile(folder / "Charades.zip", "w") as archive:
            for name, text in (files | changed).items():
                archive.writestr(f"Charades/{name}", text)

    rows = list(csv.DictReader(io.StringIO(files["Charades_v1_train.csv"])))

    def saved(rows: list[dict[str, str]]) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, sorted(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    write(**{"Charades_v1_train.csv": saved([row | {"scene": "Moon"} for row in rows])})
    assert build("charadeslt", root, folder, "none").benchmark == load_benchmark("charadeslt", root)
    listed = {row["id"]: row for row in rows}
    changed = listed[next(v for v in authors("charadeslt")["train"] if v in listed)]
    changed["actions"] += ";c000 0.00 1.00;c156 0.00 1.00"
    write(**{"Charades_v1_train.csv": saved(rows)})
    with pytest.raises(DataError, match=rf"labels of 1 of 3,694 videos differ, {changed['id']} "):
        build("charadeslt", tmp_path / "other", folder, "none")
    assert not (tmp_path / "other" / "benchmarks").exists()


def test_the_files_of_another_data_set_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(source("charadesegolt") / "CharadesEgo.zip") as archive:
        files = {
            f"Charades{ego}_v1_{part}.csv": archive.read(f"CharadesEgo/CharadesEgo_v1_{part}.csv")
            for part in ("train", "test")
            for ego in ("", "Ego")
        }
    files["Charades_v1_classes.txt"] = (REAL / "charades" / "Charades_v1_classes.txt").read_bytes()
    for name, body in files.items():
        (tmp_path / name).write_bytes(body)
    with pytest.raises(DataError, match="files lack 3,694 of 3,694 listed videos, 001YG, 004QE, "):
        build("charadeslt", tmp_path / "root", tmp_path, "none")
    for part in ("train", "test"):
        body = (REAL / "charades" / f"Charades_v1_{part}.csv").read_bytes()
        (tmp_path / f"CharadesEgo_v1_{part}.csv").write_bytes(body)
    with pytest.raises(DataError, match="has no column 'egocentric'"):
        build("charadesegolt", tmp_path / "root", tmp_path, "none")
