"""The Python API: what the commands do, as calls that return plain objects and pandas frames.

    from meid_bench.api import FeatureStore, evaluate, leaderboard, load_benchmark, load_run

docs/results.md has an example of each.
"""

from meid_bench.benchmark.benchmark import load_benchmark
from meid_bench.features.store import FeatureStore
from meid_bench.inference.trained_run import load_run
from meid_bench.results.board import load_board
from meid_bench.results.board_text import leaderboard
from meid_bench.results.comparison import compare
from meid_bench.results.report import write_report
from meid_bench.results.submission import evaluate

__all__ = [
    "FeatureStore",
    "compare",
    "evaluate",
    "leaderboard",
    "load_benchmark",
    "load_board",
    "load_run",
    "write_report",
]
