"""A run on the features of several stores: the same in every cache, and named everywhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from meid_bench.benchmark.benchmark import load_benchmark
from meid_bench.errors import DataError, SettingError
from meid_bench.features.joined_store import JoinedStore, open_features
from meid_bench.features.npy_store import register_npy
from meid_bench.inference.inspection import inspect_video
from meid_bench.inference.trained_run import load_run
from meid_bench.methods.samplers import batches
from meid_bench.results.board import load_board
from meid_bench.results.board_text import format_board
from meid_bench.results.comparison import find_row, full_name
from meid_bench.results.record import load_result, load_scores, short_id
from meid_bench.results.repeat_command import repeat_command
from meid_bench.results.report import write_report
from meid_bench.training.data import Streamed, feature_bytes, load_examples, missing_ids
from meid_bench.training.execution import Execution
from meid_bench.training.reproduce import TableRequest, find_part, wanted_blocks
from meid_bench.training.request import Request, plan_run
from meid_bench.training.run import run
from tests.toy import FRAMES, WIDTH, numbers, on_toy, write_more, write_toy

CPU = torch.device("cpu")
SHORT = {"epochs": "3", "milestones": "2", "batch": "16"}
NAME = "toy-+other-+clip-"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy with features "toy", untrained "other" and, as .npy read in place, "clip"."""
    root = tmp_path_factory.mktemp("joined")
    write_toy(root)
    write_more(root, "other", 5, without=("val002", "train001"), untrained=True)
    (root / "CLIP").mkdir()
    for number, name in enumerate(load_benchmark("toy", root).all_ids()):
        np.save(root / "CLIP" / f"{name}.npy", np.full((FRAMES, 3), number / 99, np.float32))
    register_npy(load_benchmark("toy", root), root / "CLIP", root)
    return root


def request(**changes: object) -> Request:
    base = {"aggregator": "nonlinear", "settings": SHORT, "allow_missing": 2, "features": NAME}
    return Request("plain", "toy", **{**base, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    """A run on all three."""
    planned = plan_run(request(), root)
    run(planned, CPU)
    return planned.folder


def test_every_cache_gives_the_columns_of_all_stores(root: Path) -> None:
    benchmark = load_benchmark("toy", root)
    store = open_features(root, benchmark, NAME)
    kept, streamed = (
        load_examples(benchmark, store, "train", CPU, mode) for mode in ("device", "stream")
    )
    assert isinstance(kept.features, Tensor) and isinstance(streamed.features, Streamed)
    assert kept.features.dtype == torch.float16 and "train001" not in kept.ids
    assert kept.features.shape == (47, FRAMES, 3 + 5 + WIDTH)
    expected = [part.read(kept.ids) for part in store.parts]
    assert np.array_equal(kept.features.numpy(), np.concatenate(expected, axis=2))
    index = np.random.default_rng(0).integers(0, len(kept), 100)
    parts = batches(100, 7)
    for one, other in zip(kept.batches(index, parts), streamed.batches(index, parts), strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert feature_bytes(benchmark, store) == 96 * FRAMES * (8 + WIDTH) * 2


def test_a_run_says_what_it_was_trained_on(root: Path, folder: Path) -> None:
    record = load_result(folder)
    ids = [open_features(root, load_benchmark("toy", root), n) for n in ("clip", "other", "toy")]
    assert record.features.name == "+".join(store.name for store in ids)
    assert record.features.fingerprint == "+".join(store.fingerprint for store in ids)
    assert record.features.encoder == "clip+other+toy"
    assert record.features.untrained and record.features.imported
    assert record.features.short_id == short_id(record.features.fingerprint)
    named = "+".join(f"{s.manifest.encoder}-{s.fingerprint[:8]}" for s in ids)
    assert folder.name.startswith(f"plain-nonlinear-{named}-s0-")
    assert record.missing == {"train": ("train001",), "val": ("val002",)}
    command = repeat_command(record) or ""
    assert f"--features {record.features.name} " in command


def test_the_order_of_the_names_is_no_other_run(root: Path, folder: Path) -> None:
    for name in ("clip+other+toy", "other+clip+toy", load_result(folder).features.name):
        planned = plan_run(request(features=name), root)
        assert planned.folder == folder and planned.finished
    fewer = plan_run(request(features="toy+other"), root)
    assert fewer.folder != folder and not fewer.finished


def test_streamed_numbers_are_the_kept_ones(root: Path, folder: Path) -> None:
    again = plan_run(request(again=True), root)
    kept = numbers(load_result(folder))
    streamed = numbers(run(again, CPU, execution=Execution(cache="stream")))
    assert kept.pop("environment") != streamed.pop("environment")
    assert kept == streamed


def test_board_and_report_name_all_features(root: Path, folder: Path, tmp_path: Path) -> None:
    features = load_result(folder).features
    board = load_board("toy", root)
    (section,) = board.sections
    assert section.title.endswith(f"features {features.name} ({features.short_id})")
    assert features.short_id.count("+") == 2
    (row,) = section.rows
    assert {"untrained encoder", "imported features", "missing 1 train, 1 val"} <= set(row.marks)
    assert find_row(board, full_name(row)) is row
    assert find_row(board, f"plain/{features.short_id}") is row
    assert "clip+other+toy" in format_board(board, "csv")
    assert features.short_id in format_board(board, "table")
    write_report(tmp_path / "report.html", ["toy"], root)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert features.name in page and features.encoder in page
    rescored = load_board("toy", root, rescore=True)
    assert not rescored.differing and not rescored.left_out


def test_a_run_is_inspected_on_all_its_features(root: Path, folder: Path) -> None:
    trained = load_run(folder)
    (ids, scores), video = load_scores(folder), "test003"
    found = inspect_video(trained, video, root)
    expected = scores[ids.index(video)]
    np.testing.assert_allclose(found.scores["prediction"], expected, atol=1e-6)
    assert found.in_seconds  # the .npy files know no times, the shards do
    with pytest.raises(DataError, match=r"imported features \(clip\), which no encoder here"):
        trained.predict(root / "x.mp4")


def test_missing_videos_are_counted_with_the_store_that_lacks_them(root: Path) -> None:
    with pytest.raises(DataError, match=r"^2 listed videos .* \(1 in train, 1 in val, 2 not in ot"):
        plan_run(request(allow_missing=1), root)
    benchmark = load_benchmark("toy", root)
    store = open_features(root, benchmark, "toy")
    assert missing_ids(benchmark, store, 0) == {}


def test_a_table_is_reproduced_on_joined_features(root: Path) -> None:
    asked = TableRequest("3", datasets=("toy",), features="other+toy")
    blocks = wanted_blocks(asked)
    part = find_part(asked, blocks[0], blocks, root)
    assert isinstance(part.store, JoinedStore) and part.store.manifest.encoder == "other+toy"


def test_the_command_line_joins_and_refuses(root: Path, folder: Path) -> None:
    done = on_toy(root, ["run", "--method", "plain", "--features", "toy+toy"])
    assert done.exit_code == 1 and "twice; name each store once" in done.output
    line = ["run", "--method", "plain", "--features", NAME, "--allow-missing", "2"]
    done = on_toy(root, line, SHORT)
    assert done.exit_code == 0, done.output
    assert "This very run is there already" in done.output
    assert "untrained: these numbers say nothing" in done.output


def test_many_long_names_are_still_a_folders_name(tmp_path: Path) -> None:
    write_toy(tmp_path)
    names = [letter * 60 for letter in "abcd"]
    for width, name in enumerate(names, start=1):
        write_more(tmp_path, name, width)
    planned = plan_run(request(features="+".join(names), allow_missing=0), tmp_path)
    assert len(planned.folder.name) < 250
    with pytest.raises(SettingError, match="2 feature stores; choose one with --features"):
        write_more(tmp_path, names[0], 9)
        plan_run(request(features=f"toy+{names[0]}"), tmp_path)
