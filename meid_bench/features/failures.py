"""Failures: the videos of a store that could not be read, each with its reason."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from meid_bench.files import write_text
from meid_bench.jsonlines import json_line, read_json_lines

FILE = "failures.jsonl"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a video has no features: its id, one sentence, and the decoder that said so."""

    id: str
    error: str
    decoder: str


def load_failures(folder: Path) -> dict[str, Failure]:
    """The failures of a store by id, in the order of ids; none where nothing failed yet.

    Raises:
        DataError: A line of failures.jsonl is no failure.
    """
    failures = read_json_lines(folder / FILE, Failure, "delete the file and extract again")
    return {failure.id: failure for failure in failures}


def update_failures(folder: Path, tried: Iterable[str], failed: Iterable[Failure]) -> None:
    """Of the ids just `tried`, let exactly the `failed` ones stand in failures.jsonl.

    Several processes may do so at once: the file is read and replaced under a lock.
    """
    with FileLock(folder / f".{FILE}.lock"):
        failures = load_failures(folder)
        for video_id in tried:
            failures.pop(video_id, None)
        failures |= {failure.id: failure for failure in failed}
        lines = (json_line(failures[video_id]) for video_id in sorted(failures))
        write_text(folder / FILE, "".join(lines))
