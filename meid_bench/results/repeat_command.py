"""Command: the line that repeats a run, from its record."""

import json
import shlex
from typing import Any

from meid_bench.results.record import Record, Result


def repeat_command(record: Record) -> str | None:
    """The `meid-bench run` that makes this record again; None for a submission.

    Of the settings those are named that the record calls changed.
    """
    if not isinstance(record, Result):
        return None
    parts = ["meid-bench", "run", "--method", record.method, "--dataset", record.benchmark]
    parts += ["--features", record.features.name, "--aggregator", record.aggregator]
    if record.network != "own":
        parts += ["--network", record.network]
    parts += ["--preset", record.preset or "default", "--seed", str(record.seed)]
    if record.protocol != "paper":
        parts += ["--protocol", record.protocol]
    if record.quick:
        parts += ["--quick"]
    missing = sum(len(ids) for ids in record.missing.values())
    if missing:
        parts += ["--allow-missing", str(missing)]
    for name in record.changed:
        parts += ["--set", f"{name}={_text(record.settings[name])}"]
    return shlex.join(parts)


def _text(value: Any) -> str:
    """A setting as `--set` reads it."""
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
        return ",".join(map(json.dumps, value))
    if isinstance(value, str):
        return value
    return "none" if value is None else json.dumps(value)
