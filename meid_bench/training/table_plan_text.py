"""Table plan as text: its runs and their settings, what is missing, and the time it would take."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from tabulate import tabulate

from meid_bench.training.table_plan import PlannedPart, PlannedRow


def format_plan(planned: Sequence[PlannedPart], title: str, devices: Sequence[str]) -> str:
    """The plan of a table.

    Args:
        planned: Its blocks.
        title: The table's.
        devices: What the runs would be on, in words.
    """
    rows = [row for part in planned for row in part.rows]
    number = {
        "finished": sum(len(row.finished) for row in rows),
        "begun": sum(len(row.begun) for row in rows),
        "ahead": sum(len(row.ahead) for row in rows),
    }
    states = ", ".join(f"{count} {state}" for state, count in number.items())
    parts = [f"Plan of {title} on {', '.join(devices)}: {sum(number.values())} runs ({states})"]
    parts += [_part(part) for part in planned]
    left = sum(row.seconds_left for row in rows) / len(devices)
    unknown = sum(len(row.ahead + row.begun) for row in rows if row.seconds is None)
    parts.append(
        f"About {_time(left)} for what is not finished"
        + (f", without {unknown} runs of which nothing can be measured yet" if unknown else "")
        + ". From a few steps of each row here and now: reading features into memory, and AP, come "
        "on top. Nothing was run: no record, no folder."
    )
    return "\n\n".join(parts)


def _part(part: PlannedPart) -> str:
    block = part.block
    there = f"features {part.part.store.folder.name}" if part.part else f"missing: {part.missing}"
    lines = [
        {
            "row": row.label,
            "method": row.method,
            "preset": row.preset or "",
            "epochs": "" if row.epochs is None else str(row.epochs),
            "finished": _seeds(row.finished),
            "begun": _seeds(row.begun),
            "ahead": _seeds(row.ahead),
            "a run": "" if row.seconds is None else _time(row.seconds),
            "left": "" if row.seconds is None else _time(row.seconds_left),
            "": row.note,
        }
        for row in part.rows
    ]
    texts = [f"{block.dataset}, {block.aggregator}, {block.encoder}; {there}"]
    texts.append(tabulate(lines, headers="keys", disable_numparse=True))
    texts.append("\n".join(_settings([row for row in part.rows if row.settings])))
    texts += [f"{label}: {why}" for label, why in block.left_out.items()]
    return "\n\n".join(text for text in texts if text)


def _settings(rows: Sequence[PlannedRow]) -> list[str]:
    """What all rows have alike, once, and then what each has of its own."""
    alike = {
        name: value
        for name, value in (rows[0].settings if len(rows) > 1 else {}).items()
        if all(name in row.settings and row.settings[name] == value for row in rows)
    }
    lines = [f"  every row: {_listed(alike)}"] if alike else []
    for row in rows:
        own = {name: value for name, value in row.settings.items() if name not in alike}
        lines.append(f"  {row.label}: {_listed(own)}")
    return ["settings", *lines] if lines else []


def _listed(settings: Mapping[str, Any]) -> str:
    shown = (
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in settings.items()
    )
    return ", ".join(shown) or "nothing else"


def _seeds(seeds: Sequence[int]) -> str:
    return ",".join(map(str, seeds))


def _time(seconds: float) -> str:
    """Hours, minutes and seconds, for example "1:23:45"."""
    return str(timedelta(seconds=max(1, round(seconds))) if seconds else timedelta())
