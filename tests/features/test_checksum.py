"""A shard's checksum: no byte changes unseen, HDF5 opens nothing unseen, and memory is honest."""

import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest

from meid_bench.errors import DataError
from meid_bench.features import checksum
from meid_bench.features.account import take_account
from meid_bench.features.checksum import MEMORY, SEAL_SIZE, broken
from meid_bench.features.shard import damaged_frames, read_shard, write_shard
from meid_bench.features.store import FeatureStore
from meid_bench.features.verify import repair_store, verify_store
from tests.features.test_store import video
from tests.toy import toy_benchmark, write_toy


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "part-00000.h5"
    write_shard(path, [video("a"), video("b")])
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_toy(tmp_path)
    (folder,) = (tmp_path / "features" / "toy").iterdir()
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that were read whole; a file counts as settled at once."""
    seen: list[str] = []
    kept = checksum._read

    def counting(path: Path) -> str | None:
        seen.append(path.name)
        return kept(path)

    monkeypatch.setattr(checksum, "_read", counting)
    monkeypatch.setattr(checksum, "SETTLED_SECONDS", -1.0)
    return seen


def another_process() -> None:
    checksum._known.cache_clear()


@pytest.mark.parametrize("bit", [1, 128])
def test_no_byte_of_a_shard_changes_unseen(bit: int, shard: Path) -> None:
    assert broken(shard) is None
    whole = shard.read_bytes()
    assert whole[-SEAL_SIZE:-65].decode() == "\nsha256 "
    with shard.open("r+b", buffering=0) as file:
        for place, byte in enumerate(whole):
            os.pwrite(file.fileno(), bytes([byte ^ bit]), place)
            assert broken(shard), place
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert broken(shard) is None


def test_no_shard_of_another_length_passes(shard: Path) -> None:
    whole = shard.read_bytes()
    for size in range(0, len(whole), 97):
        shard.write_bytes(whole[:size])
        assert "does not end with its checksum" in str(broken(shard))
    shard.write_bytes(whole + b"\n")
    assert "does not end with its checksum" in str(broken(shard))


def test_hdf5_never_sees_a_shard_that_changed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit of its header could make it loop for ever: `verify` hung, others ended in a trace."""
    part = store / "part-00001.h5"
    data = bytearray(part.read_bytes())
    data[1242] ^= 16
    part.write_bytes(data)
    seen = []
    kept = h5py.File.__init__

    def spying(file: Any, path: Any, *arguments: Any, **more: Any) -> None:
        seen.append(str(path))
        kept(file, path, *arguments, **more)

    monkeypatch.setattr(h5py.File, "__init__", spying)
    benchmark = toy_benchmark()
    with pytest.raises(DataError, match=r"part-00001\.h5 is no readable shard \(its checksum is"):
        FeatureStore(store)
    for read in (damaged_frames, lambda path: list(read_shard(path))):
        with pytest.raises(DataError, match=r"its checksum is wrong.*verify --repair"):
            read(part)
    (fault,) = verify_store(benchmark, store)
    repair_store(store, [fault])
    assert not [name for name in seen if "part-00001" in name]
    assert take_account(benchmark, store).stored == 64


PARTS = ["part-00000.h5", "part-00001.h5"]


def test_a_store_is_read_whole_once_and_after_a_change(store: Path, reads: list[str]) -> None:
    FeatureStore(store)
    assert sorted(reads) == PARTS
    reads.clear()
    FeatureStore(store).read(["train000"])
    another_process()
    FeatureStore(store).read(["train000"])
    assert reads == []
    part = store / PARTS[1]
    status, data = part.stat(), bytearray(part.read_bytes())
    data[-5000] ^= 1
    part.write_bytes(data)
    os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"part-00001\.h5 .*its checksum is wrong"):
        FeatureStore(store)


def test_verify_and_copies_ask_no_memory(store: Path, reads: list[str], tmp_path: Path) -> None:
    FeatureStore(store)
    reads.clear()
    verify_store(toy_benchmark(), store)
    assert sorted(reads) == PARTS
    reads.clear()
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)  # with the times of its files, and the memory
    FeatureStore(copy)
    assert sorted(reads) == PARTS


ODD_MEMORIES = {
    "empty": "",
    "a list": "[]",
    "no stamp": '{"part-00000.h5": 3}',
    "another stamp": '{"part-00000.h5": [1, 2, 3]}',
    "nested": "[" * 200_000,
    "a long name": f'{{"{"x" * 300}": [1, 2, 3]}}',
}


@pytest.mark.parametrize("text", ODD_MEMORIES.values(), ids=ODD_MEMORIES)
def test_a_memory_that_is_none_costs_a_reading(text: str, store: Path, reads: list[str]) -> None:
    (store / MEMORY).write_text(text)
    another_process()
    FeatureStore(store)
    assert sorted(reads) == PARTS


def test_what_has_just_changed_is_not_remembered(store: Path) -> None:
    """It could change again within the same tick of the clock, and would look the same."""
    FeatureStore(store)
    assert checksum._known(store) == {}


def test_a_store_that_nobody_may_write_to_is_read(
    store: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(checksum, "write_text", refuse)
    assert len(FeatureStore(store).ids) == 96
    assert sorted(reads) == PARTS
