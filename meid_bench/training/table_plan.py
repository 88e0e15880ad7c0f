"""Table plan: every run behind a table, what is finished, and how long the rest would take."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from meid_bench.errors import MeidBenchError
from meid_bench.methods.toy_task import TASK
from meid_bench.number_text import duration_text
from meid_bench.training.paper_table import Block, Variant
from meid_bench.training.reproduce import (
    TablePart,
    TableRequest,
    find_part,
    request_of,
    row_settings,
    wanted_blocks,
)
from meid_bench.training.request import Plan, plan


@dataclass(frozen=True)
class PlannedRow:
    """A row of a table, before its runs.

    Attributes:
        label: The row's name.
        method, preset: In force.
        settings: Of method, aggregator and runner, by name.
        epochs: Of all stages together; None where the benchmark is not there.
        finished, begun, ahead: Its seeds.
        seconds: Of one run; None where none is ahead, or it cannot be run.
        note: Why it cannot be run, or that it has no such preset; empty for neither.
    """

    label: str
    method: str
    preset: str | None
    settings: Mapping[str, Any]
    epochs: int | None
    finished: tuple[int, ...]
    begun: tuple[int, ...]
    ahead: tuple[int, ...]
    seconds: float | None
    note: str

    @property
    def seconds_left(self) -> float:
        """Of all runs that are not finished; a begun one counts as a whole."""
        return (self.seconds or 0.0) * len(self.begun + self.ahead)


@dataclass(frozen=True)
class PlannedPart:
    """A block of a table, before its runs.

    Attributes:
        block: Its rows are under the preset asked for where the benchmark is there.
        part: With its features; None where something is missing.
        missing: What is, and the command that makes it; None where nothing is.
        rows: In the table's order.
    """

    block: Block
    part: TablePart | None
    missing: str | None
    rows: tuple[PlannedRow, ...]


def plan_table(
    asked: TableRequest, root: Path, seconds_of: Callable[[str, Plan], float]
) -> list[PlannedPart]:
    """Look up every run of a table; nothing is run and nothing is written.

    Args:
        asked: What was asked.
        root: The data root.
        seconds_of: Label of a run and the run -> how long it takes; asked once for each row with
            a run ahead.
    """
    blocks = wanted_blocks(asked)
    planned = []
    for block in blocks:
        try:
            part = find_part(asked, block, blocks, root)
        except MeidBenchError as error:
            rows = tuple(_unplanned(asked, block, variant) for variant in block.variants)
            planned.append(PlannedPart(block, None, str(error), rows))
            continue
        rows = tuple(_row(asked, part, v, root, seconds_of) for v in part.block.variants)
        planned.append(PlannedPart(part.block, part, None, rows))
    return planned


def _row(
    asked: TableRequest,
    part: TablePart,
    variant: Variant,
    root: Path,
    seconds_of: Callable[[str, Plan], float],
) -> PlannedRow:
    requests = [request_of(asked, part, variant, seed) for seed in asked.seeds]
    try:
        plans = [plan(request, root) for request in requests]
        first = next((planned for planned in plans if not planned.finished), None)
        seconds = None if first is None else seconds_of(requests[0].label or "", first)
    except MeidBenchError as error:
        return _unplanned(asked, part.block, variant, str(error))
    begun = [not planned.finished and planned.folder.is_dir() for planned in plans]
    states = list(zip(asked.seeds, plans, begun, strict=True))
    return PlannedRow(
        label=variant.label,
        method=plans[0].model.method,
        preset=plans[0].preset,
        settings=plans[0].settings,
        epochs=plans[0].epochs,
        finished=tuple(seed for seed, planned, _ in states if planned.finished),
        begun=tuple(seed for seed, _, half in states if half),
        ahead=tuple(seed for seed, planned, half in states if not (half or planned.finished)),
        seconds=seconds,
        note=_note(asked, variant),
    )


def _note(asked: TableRequest, variant: Variant) -> str:
    return f"has no preset {asked.preset}" if asked.preset and variant.preset is None else ""


def _unplanned(
    asked: TableRequest, block: Block, variant: Variant, problem: str = ""
) -> PlannedRow:
    """A row without its benchmark or its features: what can be said of it all the same."""
    values = {**asked.settings, **variant.settings}
    method, preset, settings = row_settings(block, variant, values, asked.protocol, asked.quick)
    note = problem or _note(asked, variant)
    # What is idle on the toy's frames is idle on all but videos of a single one.
    named = settings.recorded(TASK)
    return PlannedRow(variant.label, method, preset, named, None, (), (), asked.seeds, None, note)


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
        f"About {duration_text(left)} for what is not finished"
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
            "a run": "" if row.seconds is None else duration_text(row.seconds),
            "left": "" if row.seconds is None else duration_text(row.seconds_left),
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
