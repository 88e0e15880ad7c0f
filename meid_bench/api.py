"""The Python API: what the commands do, as calls that return plain objects and pandas frames.

    from meid_bench.api import FeatureStore, evaluate, leaderboard, load_benchmark, load_run

docs/results.md has an example of each.
"""

from meid_bench.benchmark import load_benchmark
from meid_bench.board.compare import compare
from meid_bench.board.submission import evaluate
from meid_bench.features import FeatureStore
from meid_bench.inspecting.trained_run import load_run
from meid_bench.leaderboard import leaderboard, load_board
from meid_bench.report import write_report

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
