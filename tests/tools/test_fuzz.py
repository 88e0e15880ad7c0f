"""tools/fuzz.py: a small run of it, and that it would notice."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

TOOLS = Path(__file__).parents[2] / "tools"
SOUND = b"a sound file, in words and lines\n" * 4


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(TOOLS))
    import fuzz

    threads = torch.get_num_threads()
    yield fuzz
    torch.set_num_threads(threads)


def test_no_damaged_file_ends_in_a_traceback_or_hangs(tool: ModuleType) -> None:
    endings = tool.run(mutations=156, seed=7, only=set(), seconds=30.0)
    assert len(endings) == 156 and len({ending.kind for ending in endings}) == 26
    assert tool.failed(endings) == []
    assert sum(ending.outcome == "refused" for ending in endings) > 72


def raises() -> None:
    raise ValueError("two\nlines")


def spin() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("act", "outcome", "detail", "seconds"),
    [
        (raises, "traceback", "ValueError", 10.0),
        (lambda: os._exit(3), "hang", "the process died", 10.0),
        (lambda: time.sleep(60), "hang", "not done after 0.03 seconds", 0.03),
        (spin, "hang", "not done after 0.5 seconds", 0.5),
        (lambda: None, "other", "", 10.0),
    ],
)
def test_it_notices(
    act: Callable[[], None],
    outcome: str,
    detail: str,
    seconds: float,
    tool: ModuleType,
    tmp_path: Path,
) -> None:
    def read(folder: Path) -> bytes:
        data = (folder / "x").read_bytes()
        if data != SOUND:
            act()
        return data

    folder = tmp_path / "sound"
    folder.mkdir()
    (folder / "x").write_bytes(SOUND)
    case = tool.Case("zip made up", "x", lambda folder: None, read, text=True)
    endings = tool.fuzz(case, folder, ["a", "b"], seconds)
    assert [ending.seed for ending in endings] == ["a", "b"]
    assert {ending.outcome for ending in endings} == {outcome}
    assert all(detail in ending.detail for ending in endings)
    assert tool.failed(endings) == endings  # a zip's members have a sum: "other" is a failure too
    assert (folder / "x").read_bytes() == SOUND


def test_damage_is_repeatable_and_does_something(tool: ModuleType) -> None:
    made = [tool.damaged(SOUND, tool.random.Random(seed), True) for seed in range(200)]
    assert made == [tool.damaged(SOUND, tool.random.Random(seed), True) for seed in range(200)]
    assert sum(data != SOUND for data in made) > 180
