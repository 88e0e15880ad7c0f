"""The board's marks on made-up scores, whole: their level with nine equal rows, and their power."""

import importlib.util
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "simulate_marks.py"
SPEC = importlib.util.spec_from_file_location("simulate_marks", TOOL)
assert SPEC is not None and SPEC.loader is not None
marks = importlib.util.module_from_spec(SPEC)
sys.modules["simulate_marks"] = marks
SPEC.loader.exec_module(marks)

SMALL = {"seeds": 2, "subjects": 20, "resamples": 199}


def test_nine_equal_rows_are_seldom_told_apart() -> None:
    """Of 40 boards 2 may be wrong, and 7 with p < .01; Holm against the best gave 18 to 21 %."""
    assert marks.level(marks.Setting(9, **SMALL), 40) <= 6 / 40


def test_a_better_row_is_told_from_the_others() -> None:
    assert marks.power(marks.Setting(5, gain=1.5, **SMALL), 10) > 0.8
