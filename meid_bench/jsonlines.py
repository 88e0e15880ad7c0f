"""JSON lines: files of one strict JSON object a line, whatever text the objects hold."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from meid_bench.codec import decode
from meid_bench.errors import DataError

T = TypeVar("T")


def json_line(item: Any) -> str:
    """A dataclass as one line, with its line feed.

    All but ASCII is escaped: many programs take U+2028 or U+0085 for a line's end, and half of a
    surrogate pair, as it comes from the names of other people's files, cannot be written at all.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    return json.dumps(asdict(item), allow_nan=False) + "\n"


def read_json_lines(path: Path, kind: type[T], mend: str) -> list[T]:
    """Read a file of dataclasses; there are none where it is missing.

    Args:
        path: The file.
        kind: The dataclass; see `schema.decode` for the types of its fields.
        mend: What to do about a damaged file, for the message: "run it again".

    Raises:
        DataError: A line is no such object.
    """
    if not path.is_file():
        return []
    items = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines if lines[-1] else lines[:-1], start=1):
        try:
            items.append(decode(kind, json.loads(line.decode("utf-8"))))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number} is damaged ({error}); {mend}") from error
    return items
