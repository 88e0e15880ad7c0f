"""Damage every kind of file that is read here, and see whether each is refused in one sentence.

    python tools/fuzz.py [--mutations 10000] [--seed 0] [--only h5,zip] [--seconds 20] [--keep DIR]

A sound file of each kind is made, then damaged: bits and bytes changed, parts cut, repeated, moved
or filled, numbers and words of a text replaced. The public function that reads it is called in a
process with a time limit and a limit of memory. It may end in five ways:

    refused     one of the package's errors, a single line
    same        accepted, with the result of the sound file: the damage did no harm
    other       accepted, with another result: a file of that kind may say that
    traceback   any other exception, or a message of several lines
    hang        the limit of computing or waiting was reached, or the process died

Exits with 1 where anything ended in one of the last two. "other" can only stand where a format has
no sum of its own: a cell of a csv, a number in a .npy, .pth or .safetensors, a pixel of a video. It
is an error in a shard, whose checksum must find it, and in the members of a zip.
"""

import argparse
import hashlib
import multiprocessing
import os
import pickle
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch
from fuzz_files import CASES, Case

from meid_bench.errors import MeidBenchError

SUMMED = {"h5", "zip"}
BAD = ("traceback", "hang")
OUTCOMES = ("refused", "same", "other", *BAD)
# Beyond what the process has: a header that promises a petabyte must not get it.
MEMORY = 3 << 30
# A process on a busy machine may wait as much longer than it computes; one in a deadlock, for ever.
PATIENCE = 30
ODD_WORDS = (
    *("", "-1", "0", "1e999", "nan", "-inf", "9" * 30, "0.5", "null", "true", "[]", "{}", '""'),
    *("\u2028", "\x00", "\x85", "\ufeff", "../x", "a\tb", "[" * 2000, "é", ";", ",", '"', "\udcff"),
)
ODD_BYTES = (b"\x00", b"\xff", b"\x80", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\x7f" * 8)


@dataclass(frozen=True)
class Ending:
    """How the reading of one damaged file ended.

    Attributes:
        kind: Of the file.
        seed: Of the damage: `damaged(sound, Random(seed), text)` makes it again.
        outcome: One of OUTCOMES.
        detail: What was said.
    """

    kind: str
    seed: str
    outcome: str
    detail: str


def damaged(sound: bytes, dice: random.Random, text: bool) -> bytes:
    """A file with one to three things wrong with it."""
    data = bytearray(sound)
    ways = [*_WAYS, *([_other_word] * 6 + [_lines] * 3 if text else [])]
    for _ in range(dice.choice((1, 1, 2, 3))):
        dice.choice(ways)(data, dice)
    return bytes(data)


def _flip(data: bytearray, dice: random.Random) -> None:
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _flip_near_an_end(data: bytearray, dice: random.Random) -> None:
    if data:
        place = dice.randrange(min(512, len(data)))
        data[place if dice.random() < 0.5 else -1 - place] ^= 1 << dice.randrange(8)


def _overwrite(data: bytearray, dice: random.Random) -> None:
    place, odd = dice.randrange(len(data) + 1), dice.choice(ODD_BYTES)
    data[place : place + len(odd)] = odd


def _span(data: bytearray, dice: random.Random) -> slice:
    start = dice.randrange(len(data) + 1)
    return slice(start, start + int(2 ** (dice.random() * 12)))


def _cut_out(data: bytearray, dice: random.Random) -> None:
    del data[_span(data, dice)]


def _repeat(data: bytearray, dice: random.Random) -> None:
    span = _span(data, dice)
    data[span.start : span.start] = data[span]


def _move(data: bytearray, dice: random.Random) -> None:
    part = data[_span(data, dice)]
    place = dice.randrange(len(data) + 1)
    data[place : place + len(part)] = part


def _fill(data: bytearray, dice: random.Random) -> None:
    span = _span(data, dice)
    data[span] = bytes([dice.choice((0, 255, 32))]) * len(data[span])


def _insert(data: bytearray, dice: random.Random) -> None:
    place = dice.randrange(len(data) + 1)
    data[place:place] = dice.randbytes(dice.randrange(1, 40))


def _cut_off(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data) + 1) :]


def _other_word(data: bytearray, dice: random.Random) -> None:
    words = list(re.finditer(rb'[^\s,;:"\[\]{}]+', data))
    if words:
        word = dice.choice(words)
        data[word.start() : word.end()] = dice.choice(ODD_WORDS).encode("utf-8", "surrogatepass")


def _lines(data: bytearray, dice: random.Random) -> None:
    lines = bytes(data).splitlines(keepends=True)
    if lines:
        place = dice.randrange(len(lines))
        lines[place : place + 1] = dice.choice(([], [lines[place]] * 2, [lines[place].rstrip()]))
        data[:] = b"".join(lines)


_WAYS = (_flip, _flip, _flip_near_an_end, _overwrite, _cut_out, _repeat, _move, _fill, _insert)
_WAYS = (*_WAYS, _cut_off)


def read(case: Case, folder: Path) -> tuple[str, str]:
    """Call what reads the file; the outcome, and what was said, or a digest of the result."""
    try:
        result = case.read(folder)
    except MeidBenchError as error:
        sentence = str(error)
        return ("refused", sentence) if "\n" not in sentence else ("traceback", sentence)
    except BaseException:
        return "traceback", traceback.format_exc()
    return "accepted", hashlib.sha256(pickle.dumps(result)).hexdigest()


def _work(case: Case, folder: Path, seeds: list[str], pipe: "Connection[Any, Any]") -> None:
    """Damage and read, and tell of each."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)  # libraries write there what they think of a file
    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = size * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    path = folder / case.file
    sound = path.read_bytes()
    expected = read(case, folder)
    assert expected[0] == "accepted", expected
    for seed in seeds:
        path.write_bytes(damaged(sound, random.Random(seed), case.text))
        outcome, detail = read(case, folder)
        if outcome == "accepted":
            outcome = "same" if detail == expected[1] else "other"
        pipe.send((outcome, detail))


def fuzz(case: Case, folder: Path, seeds: list[str], seconds: float) -> list[Ending]:
    """Damage one kind of file in many ways, in a process that is replaced where it hangs or dies.

    Args:
        case: The kind.
        folder: Where its sound files are; others may be written there.
        seeds: One a damage.
        seconds: How long one reading may compute.
    """
    endings: list[Ending] = []
    while len(endings) < len(seeds):
        work = folder.with_name(f"{folder.name}-damaged")
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(folder, work)
        ours, theirs = multiprocessing.Pipe()
        left = seeds[len(endings) :]
        process = multiprocessing.get_context("fork").Process(
            target=_work, args=(case, work, left, theirs), daemon=True
        )
        process.start()
        theirs.close()
        for seed in left:
            try:
                if not _answers(ours, process.pid, seconds):
                    raise TimeoutError(f"not done after {seconds:g} seconds")
                outcome, detail = ours.recv()
            except (EOFError, TimeoutError) as error:
                detail = str(error) or "the process died"
                endings.append(Ending(case.kind, seed, "hang", detail))
                break
            endings.append(Ending(case.kind, seed, outcome, detail))
        process.kill()
        process.join()
    return endings


def _answers(pipe: "Connection[Any, Any]", process: int, seconds: float) -> bool:
    """Whether an answer comes before the process has computed that long, or waited for long."""
    begun, deadline = _computed(process), time.monotonic() + PATIENCE * seconds
    while not pipe.poll(0.1):
        if _computed(process) - begun > seconds or time.monotonic() > deadline:
            return False
    return True


def _computed(process: int) -> float:
    try:
        return sum(psutil.Process(process).cpu_times()[:2])
    except psutil.Error:
        return 0.0  # it has died, and the pipe says so


def table(endings: list[Ending]) -> str:
    """How many of each kind ended how."""
    counts: Mapping[str, Counter[str]] = {ending.kind: Counter() for ending in endings}
    for ending in endings:
        counts[ending.kind][ending.outcome] += 1
    lines = [f"{'':24}" + "".join(f"{name:>11}" for name in OUTCOMES)]
    for kind, found in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        lines.append(f"{kind:24}" + "".join(f"{found[name]:11}" for name in OUTCOMES))
    return "\n".join(lines)


def failed(endings: list[Ending]) -> list[Ending]:
    """Those that no damage may have."""
    return [
        ending
        for ending in endings
        if ending.outcome in BAD or (ending.outcome == "other" and ending.kind.split()[0] in SUMMED)
    ]


def run(
    mutations: int,
    seed: int,
    only: set[str],
    seconds: float,
    keep: Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Ending]:
    """Fuzz every kind of file with its share of the mutations.

    Args:
        mutations: How many, over all kinds.
        seed: Of all damage.
        only: Formats, such as "h5"; all where empty.
        seconds: How long one reading may compute.
        keep: Where files that should not have ended as they did are written.
        say: Takes a line for each of these.
    """
    torch.set_num_threads(1)  # a fork takes no threads along
    cases = [case for case in CASES if not only or case.kind.split()[0] in only]
    endings: list[Ending] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, case in enumerate(cases):
            folder = Path(scratch) / f"{number:02d}"
            folder.mkdir()
            case.make(folder)
            share = mutations * (number + 1) // len(cases) - mutations * number // len(cases)
            seeds = [f"{seed} {case.kind} {each}" for each in range(share)]
            found = fuzz(case, folder, seeds, seconds)
            endings += found
            for ending in failed(found):
                say(f"{ending.outcome}: {ending.seed}: {ending.detail}")
                if keep is not None:
                    sound = (folder / case.file).read_bytes()
                    keep.mkdir(parents=True, exist_ok=True)
                    name = re.sub(r"\W+", "-", ending.seed) + Path(case.file).suffix
                    (keep / name).write_bytes(damaged(sound, random.Random(ending.seed), case.text))
    return endings


def main() -> int:
    """Parse, fuzz, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="formats, such as h5,zip")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    only = set(filter(None, given.only.split(",")))
    endings = run(given.mutations, given.seed, only, given.seconds, given.keep)
    print(table(endings))
    return 1 if failed(endings) else 0


if __name__ == "__main__":
    sys.exit(main())
