"""Progress: a bar with rate and time left on a terminal, a plain line every so often elsewhere."""

import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

from meid_bench.number_text import size_text

SECONDS_BETWEEN_LINES = 10.0


class _Bar(tqdm):  # type: ignore[type-arg]
    """tqdm with a lock between threads alone: its own holds a semaphore that a kill leaves."""

    _lock = threading.RLock()


class Progress:
    """Counts what is done; use it in a `with`.

    Args:
        total: How much there is to do; None where nobody knows.
        label: What is being done, for example "extract".
        unit: Of what, in the plural: "videos", "bytes". Bytes are printed as kB, MB, GB.
        done: How much was done before this run; it counts neither for rate nor for time left.
        stream: Where to; standard error where it is left out, so that output stays clean.
        every: Seconds between plain lines.

    A line reads `extract: 12/130 videos, 0.8 videos/s, 2:27 left, 41 frames/s`.
    """

    def __init__(
        self,
        total: int | None,
        label: str,
        unit: str,
        *,
        done: int = 0,
        stream: TextIO | None = None,
        every: float = SECONDS_BETWEEN_LINES,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._every = every
        self._note = ""
        self._last = time.monotonic()
        self._bar = _Bar(
            total=total,
            desc=label,
            unit="B" if unit == "bytes" else f" {unit}",
            unit_scale=unit == "bytes",
            unit_divisor=1000,
            initial=done,
            file=self._stream if self._terminal else _Nowhere(),
            dynamic_ncols=True,
        )
        self._unit = unit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._terminal:
            self._print_line()
        self._bar.close()

    def update(self, amount: int = 1, note: str | None = None) -> None:
        """Count `amount` more; `note` stands behind the numbers until the next one."""
        if note is not None:
            self._note = note
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(amount)
        due = time.monotonic() - self._last >= self._every
        if not self._terminal and due and self._bar.n != self._bar.total:  # the end has its own
            self._print_line()

    def write(self, line: str) -> None:
        """Print a line above the bar."""
        if self._terminal:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def _print_line(self) -> None:
        self._last = time.monotonic()
        print(self._line(), file=self._stream, flush=True)

    def _line(self) -> str:
        state = self._bar.format_dict
        size = size_text if self._unit == "bytes" else str
        total = "" if self._bar.total is None else f"/{size(self._bar.total)}"
        unit = "" if self._unit == "bytes" else f" {self._unit}"
        parts = [f"{self._bar.desc}: {size(self._bar.n)}{total}{unit}"]
        elapsed, done = state["elapsed"], self._bar.n - self._bar.initial
        if done > 0 and elapsed > 0:
            rate = done / elapsed
            shown = f"{size(rate)}/s" if self._unit == "bytes" else f"{rate:.3g}{unit}/s"
            parts.append(shown)
            if self._bar.total is not None and self._bar.n < self._bar.total:
                left = (self._bar.total - self._bar.n) / rate
                parts.append(f"{tqdm.format_interval(left)} left")
        return ", ".join([*parts, *([self._note] if self._note else [])])


class _Nowhere:
    """Takes the bar's drawing where there is no terminal to draw it on."""

    def write(self, text: str) -> None:
        """Drop the text."""

    def flush(self) -> None:
        """Nothing to do."""
