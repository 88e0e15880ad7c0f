"""Where features stay: what fits, what was asked for, and what to do where memory runs out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import meid_bench.training.cache
from meid_bench.errors import SettingError
from meid_bench.features.store import FeatureStore, find_store
from meid_bench.methods.samplers import batches
from meid_bench.methods.settings import RunnerConfig
from meid_bench.number_text import size_text
from meid_bench.training.cache import (
    Cache,
    choose_cache,
    fitting_batch,
    free_host_memory,
    no_room,
    with_room,
)
from meid_bench.training.data import Streamed, load_examples
from meid_bench.training.readahead import read_ahead
from tests.small_methods import toy_method
from tests.toy import toy_examples, write_toy

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
GB = 10**9


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 GB of main memory and 80 GB on a GPU are free."""
    monkeypatch.setattr(meid_bench.training.cache, "free_host_memory", lambda: 100 * GB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (80 * GB, 80 * GB))


@pytest.mark.parametrize(
    ("needed", "device", "processes", "full", "mode"),
    [
        (3, CPU, 1, None, "host"),
        (3, CUDA, 1, None, "device"),
        (55, CUDA, 1, None, "host"),
        (55, CUDA, 2, None, "stream"),
        (157, CUDA, 1, None, "stream"),
        (157, CPU, 1, None, "stream"),
        (3, CUDA, 1, "device", "host"),
        (3, CUDA, 1, "host", "stream"),
        (3, CPU, 1, "host", "stream"),
    ],
)
def test_auto_takes_the_first_that_fits(
    machine: None, needed: int, device: torch.device, processes: int, full: str | None, mode: str
) -> None:
    cache = choose_cache("auto", needed * GB, device, processes, full)
    assert cache.mode == mode
    assert cache.reason.startswith(f"{size_text(needed * GB)} of features")


def test_what_is_asked_for_is_taken(machine: None) -> None:
    assert choose_cache("stream", GB, CUDA).mode == "stream"
    assert choose_cache("device", 500 * GB, CUDA).mode == "device"
    assert choose_cache("device", GB, CPU).mode == "host"


def test_free_memory_is_what_the_machine_has_at_most() -> None:
    assert 0 < free_host_memory() < 10**14


def test_auto_goes_on_where_memory_runs_out(machine: None) -> None:
    tried = []

    def work(cache: Cache) -> str:
        tried.append(cache.mode)
        if cache.mode == "device":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if cache.mode == "host":
            raise MemoryError
        return "done"

    assert with_room(work, "auto", GB, CUDA) == "done"
    assert tried == ["device", "host", "stream"]
    with pytest.raises(SettingError, match="use --cache stream"):
        with_room(work, "host", GB, CUDA)
    with pytest.raises(SettingError, match=r"cuda:0 has no room for the features .* --cache host"):
        with_room(work, "device", GB, CUDA)


def test_the_batch_that_fits_is_found_by_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    method = toy_method("meid", "nonlinear", {})
    loss = type(method).loss

    def hungry(self, batch, stage, epoch):  # type: ignore[no-untyped-def]
        if len(batch) > (7 if stage.name == "second expert" else 20):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(self, batch, stage, epoch)

    monkeypatch.setattr(type(method), "loss", hungry)
    examples = toy_examples(48)
    config = RunnerConfig(batch=48, training_frames=6)
    build = lambda: toy_method("meid", "nonlinear", {})  # noqa: E731
    assert fitting_batch(build, examples, config, bfloat16=False) == 6
    assert str(no_room(48, 6, CUDA)) == (
        "cuda:0 has no room for a step with batch 48; a batch of 6 fits: use --set batch=6"
    )
    assert "not even one video fits" in str(no_room(1, 0, CUDA))
    assert "or more ranks" in str(no_room(48, None, CUDA))


def test_streaming_and_keeping_give_the_same_features(tmp_path: Path) -> None:
    benchmark = write_toy(tmp_path, without=("train001",))
    store = FeatureStore(find_store(tmp_path, benchmark))
    kept = load_examples(benchmark, store, "train", CPU, "host")
    streamed = load_examples(benchmark, store, "train", CPU, "stream")
    assert isinstance(kept.features, Tensor) and isinstance(streamed.features, Streamed)
    assert kept.ids == streamed.ids and "train001" not in kept.ids
    index = np.random.default_rng(0).integers(0, len(kept), 100)
    parts = batches(100, 7)
    for one, other in zip(kept.batches(index, parts), streamed.batches(index, parts), strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert one[0].dtype == torch.float32


def test_a_reader_that_fails_is_heard_and_one_that_is_left_ends() -> None:
    seen = []

    def read(rows: np.ndarray, out: Tensor) -> None:
        seen.extend(rows)
        if 20 in rows:
            raise SettingError("row 20 is bad")
        out.copy_(torch.from_numpy(rows).view(-1, 1, 1).expand(-1, 2, 3))

    index = np.arange(1000)
    read_on = read_ahead(read, index, batches(1000, 8), (2, 3), CPU)
    assert torch.equal(next(read_on)[:, 0, 0], torch.arange(8.0).half())
    assert torch.equal(next(read_on)[:, 0, 0], torch.arange(8.0, 16.0).half())
    with pytest.raises(SettingError, match="row 20 is bad"):
        next(read_on)
    assert max(seen) < 64  # bounded: it did not run ahead of who reads
    left = read_ahead(read, index[:16], batches(16, 4), (2, 3), CPU)
    next(left)
    left.close()
