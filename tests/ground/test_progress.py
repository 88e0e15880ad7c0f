"""Progress is a bar on a terminal and plain lines elsewhere."""

import io
import re

from meid_bench.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    with Progress(4, "extract", "videos", stream=out, every=0) as progress:
        progress.update(1, "9 frames/s")
        progress.write("a line of its own")
        progress.update(3)
    lines = out.getvalue().splitlines()
    assert re.fullmatch(r"extract: 1/4 videos, \S+ videos/s, [\d:?]+ left, 9 frames/s", lines[0])
    assert lines[1] == "a line of its own"
    assert lines[2].startswith("extract: 4/4 videos, ")
    assert len(lines) == 3
    assert "\r" not in out.getvalue()


def test_few_lines_for_many_updates() -> None:
    out = io.StringIO()
    with Progress(1000, "run", "epochs", stream=out) as progress:
        for _ in range(1000):
            progress.update()
    assert len(out.getvalue().splitlines()) == 1


def test_bytes_are_readable_and_resumed_ones_do_not_count_for_the_rate() -> None:
    out = io.StringIO()
    with Progress(3_000_000, "fetch", "bytes", done=2_000_000, stream=out, every=0) as progress:
        progress.update(1_000_000)
    assert out.getvalue().startswith("fetch: 3.00MB/3.00MB, ")
    out = io.StringIO()
    with Progress(None, "fetch", "bytes", done=2_000_000, stream=out):
        pass
    assert out.getvalue() == "fetch: 2.00MB\n"


def test_a_bar_on_a_terminal() -> None:
    out = Terminal()
    with Progress(2, "extract", "videos", stream=out) as progress:
        progress.update(2, "5 frames/s")
    assert "extract: 100%" in out.getvalue()
    assert "5 frames/s" in out.getvalue()
