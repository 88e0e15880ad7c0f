"""Decode workers, wherever the main program comes from: they do not run it again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.made_videos import write_video

# No `if __name__ == "__main__"`: a worker that ran this would write a second line, and go on.
CODE = """
import sys
from pathlib import Path
with Path(sys.argv[1], "started").open("a") as file:
    file.write("once\\n")

from meid_bench.features.decode_pool import DecodeSettings, DecodeTask
from meid_bench.features.decode_pool import DecodePool, prepare_workers
from meid_bench.features.frames import FrameRule
from meid_bench.features.transform import Transform

prepare_workers()
with DecodePool(DecodeSettings(FrameRule(2), Transform(resize=8, crop=8)), 1, 1) as pool:
    pool.submit(DecodeTask("v", Path(sys.argv[1], "v.mp4")))
    while pool.busy:
        for result in pool.results(1.0):
            print(result.decoded.num_frames)
"""


@pytest.mark.parametrize("kind", ["script", "standard input"])
def test_workers_do_not_run_the_main_module(kind: str, tmp_path: Path) -> None:
    """They died as they started, and the sentence asked whether memory was short."""
    write_video(tmp_path / "v.mp4", 6, (32, 32))
    script = tmp_path / "script.py"
    script.write_text(CODE)
    done = subprocess.run(
        [sys.executable, str(script) if kind == "script" else "-", str(tmp_path)],
        input=CODE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr
    assert (tmp_path / "started").read_text() == "once\n"
