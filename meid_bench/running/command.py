"""Command: the line that repeats a run, from its record."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from meid_bench.errors import MeidBenchError
from meid_bench.results import Result


def repeat_command(record: Result) -> str | None:
    """The `meid-bench run` that makes this record again; None for a submission.

    Only settings that differ from the defaults are named, where the method is installed here;
    otherwise all of them.
    """
    if record.source != "run" or record.features is None:
        return None
    parts = ["meid-bench", "run", "--method", record.method, "--dataset", record.benchmark]
    parts += ["--features", record.features.name, "--aggregator", str(record.aggregator)]
    if record.network != "own":
        parts += ["--network", str(record.network)]
    parts += ["--preset", record.preset or "default", "--seed", str(record.seed)]
    if record.protocol != "paper":
        parts += ["--protocol", str(record.protocol)]
    if record.quick:
        parts += ["--quick"]
    missing = sum(len(ids) for ids in record.missing.values())
    if missing:
        parts += ["--allow-missing", str(missing)]
    defaults = _defaults(record)
    for name, value in record.settings.items():
        if name not in defaults or defaults[name] != value:
            parts += ["--set", f"{name}={_text(value)}"]
    return shlex.join(parts)


def _defaults(record: Result) -> Mapping[str, Any]:
    """What a run without `--set` would have used, as JSON says it; empty if nobody here knows.

    A record may come from anyone: a `module:Class` that it names is not imported for this.
    """
    if ":" in record.method:
        return {}
    from meid_bench.plugins import find_method
    from meid_bench.running.protocol import GRID, rates_of
    from meid_bench.running.request import resolve

    try:
        kind = find_method(record.method)
        settings, runner = resolve(
            kind,
            record.aggregator or "",
            record.preset,
            {},
            record.protocol or "paper",
            record.quick,
        )
    except MeidBenchError:
        return {}
    if record.protocol == "equal":
        settings |= rates_of(kind, list(GRID))
    plain: dict[str, Any] = json.loads(json.dumps({**settings, **asdict(runner)}))
    return plain


def _text(value: Any) -> str:
    """A setting as `--set` reads it."""
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
        return ",".join(map(json.dumps, value))
    if isinstance(value, str):
        return value
    return "none" if value is None else json.dumps(value)
