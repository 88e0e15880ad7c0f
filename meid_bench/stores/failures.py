"""Failures: the videos of a store that could not be read, each with its reason."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from meid_bench.errors import DataError
from meid_bench.paths import write_text

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
    path = folder / FILE
    if not path.is_file():
        return {}
    failures = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            failure = Failure(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}, line {number} is no failure ({error}); delete the file and extract again"
            ) from error
        failures[failure.id] = failure
    return failures


def update_failures(folder: Path, tried: Iterable[str], failed: Iterable[Failure]) -> None:
    """Of the ids just `tried`, let exactly the `failed` ones stand in failures.jsonl.

    Several processes may do so at once: the file is read and replaced under a lock.
    """
    with FileLock(folder / f".{FILE}.lock"):
        failures = load_failures(folder)
        for video_id in tried:
            failures.pop(video_id, None)
        failures |= {failure.id: failure for failure in failed}
        lines = [
            json.dumps(asdict(failures[video_id]), ensure_ascii=False) + "\n"
            for video_id in sorted(failures)
        ]
        write_text(folder / FILE, "".join(lines))
