"""JSON lines hold any text, and name the line that is damaged."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from meid_bench.codec import json_line, read_json_lines
from meid_bench.errors import DataError
from meid_bench.features.manifest import Failure, load_failures, update_failures


@dataclass(frozen=True)
class Item:
    """What a line holds."""

    text: str
    number: float = 0.0


ODD = ["\u2028", "\u2029", "\x85", "\x1c\x1e", "\r\n", "\x0b\x0c", "ü 視", "\0"]


@pytest.mark.parametrize("text", ODD)
def test_whatever_text_is_one_line_and_comes_back(text: str, tmp_path: Path) -> None:
    items = [Item(f"a{text}b", 1.5), Item("next")]
    path = tmp_path / "items.jsonl"
    path.write_text("".join(map(json_line, items)), encoding="utf-8")
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2
    assert read_json_lines(path, Item, "mend it") == items


def test_a_decoders_message_never_closes_a_store(tmp_path: Path) -> None:
    failures = [Failure(f"v{n}", f"broken{text}here", "pyav") for n, text in enumerate(ODD)]
    update_failures(tmp_path, [], [*failures, Failure("w", "of \udcff", "pyav")])
    update_failures(tmp_path, ["v0"], [])
    assert list(load_failures(tmp_path).values()) == [
        *failures[1:], Failure("w", "of \\udcff", "pyav"),
    ]  # fmt: skip


def test_what_another_program_wrote_unescaped_is_read(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"text": "a\u2028b\x85", "number": 1}\r\n{"text": "", "number": 0}')
    assert read_json_lines(path, Item, "mend it") == [Item("a\u2028b\x85", 1.0), Item("")]
    assert read_json_lines(tmp_path / "missing", Item, "mend it") == []


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b'{"text": 1, "number": 0}', b"\xff", b"[" * 100_000, b'{"text": "a"}'],
)
def test_a_damaged_line_is_named(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(json_line(Item("a")).encode() + line + b"\n")
    with pytest.raises(DataError, match=r"items\.jsonl, line 2 is damaged \(.*\); mend it"):
        read_json_lines(path, Item, "mend it")
