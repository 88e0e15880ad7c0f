"""Table plan: every run behind a table, what is finished, and how long the rest would take."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from meid_bench.training.request import Plan, plan_run


@dataclass(frozen=True)
class PlannedRow:
    """A row of a table, before its runs.

    Attributes:
        label: The row's name.
        method, preset: In force.
        settings: Of method, aggregator and runner, by name.
        epochs: Of all stages together; None where the benchmark is not there.
        seeds: "finished", "begun" and "ahead" to the seeds of such runs.
        seconds: Of one run; None where none is ahead, or it cannot be run.
        note: Why it cannot be run, or that it has no such preset; empty for neither.
    """

    label: str
    method: str
    preset: str | None
    settings: Mapping[str, Any]
    epochs: int | None
    seeds: Mapping[str, Sequence[int]]
    seconds: float | None
    note: str

    @property
    def seconds_left(self) -> float:
        """Of all runs that are not finished; a begun one counts as a whole."""
        return (self.seconds or 0.0) * self.unfinished

    @property
    def unfinished(self) -> int:
        """How many runs are."""
        return len(self.seeds["begun"]) + len(self.seeds["ahead"])


@dataclass(frozen=True)
class PlannedBlock:
    """A block of a table, before its runs.

    Attributes:
        block: The block.
        features: Name of its feature store; None where something is missing.
        missing: What is, and the command that makes it; None where nothing is.
        rows: In the table's order.
    """

    block: Block
    features: str | None
    missing: str | None
    rows: tuple[PlannedRow, ...]


def plan_table(
    asked: TableRequest, root: Path, seconds_of: Callable[[str, Plan], float]
) -> list[PlannedBlock]:
    """Look up every run of a table; nothing is run and nothing is written.

    `seconds_of` measures how long a run takes, from its label and the run; it is called once for
    each row with a run ahead.
    """
    blocks = wanted_blocks(asked)
    planned = []
    for block in blocks:
        part, features, missing = None, None, None
        try:
            part = find_part(asked, block, blocks, root)
            features = part.store.name
        except MeidBenchError as error:
            missing = str(error)
        rows = tuple(_row(asked, block, part, v, root, seconds_of) for v in block.variants)
        planned.append(PlannedBlock(block, features, missing, rows))
    return planned


def _row(
    asked: TableRequest,
    block: Block,
    part: TablePart | None,
    variant: Variant,
    root: Path,
    seconds_of: Callable[[str, Plan], float],
) -> PlannedRow:
    values = {**asked.settings, **variant.settings}
    method, preset, settings = row_settings(block, variant, values, asked.protocol, asked.quick)
    note = f"has no preset {asked.preset}" if asked.preset and variant.preset is None else ""
    # Without features: what is idle on the toy's frames is idle on all but videos of a single one.
    named = settings.recorded(TASK)
    seeds: dict[str, list[int]] = {"finished": [], "begun": [], "ahead": list(asked.seeds)}
    row = PlannedRow(variant.label, method, preset, named, None, seeds, None, note)
    if part is None:
        return row
    requests = [request_of(asked, part, variant, seed) for seed in asked.seeds]
    try:
        plans = [plan_run(request, root) for request in requests]
        first = next((planned for planned in plans if not planned.finished), None)
        seconds = None if first is None else seconds_of(requests[0].label or "", first)
    except MeidBenchError as error:
        return replace(row, note=str(error))
    seeds = {"finished": [], "begun": [], "ahead": []}
    for seed, planned in zip(asked.seeds, plans, strict=True):
        begun = "begun" if planned.folder.is_dir() else "ahead"
        seeds["finished" if planned.finished else begun].append(seed)
    return replace(
        row,
        method=plans[0].model.method,
        preset=plans[0].preset,
        settings=plans[0].settings,
        epochs=plans[0].epochs,
        seeds=seeds,
        seconds=seconds,
    )


def format_plan(planned: Sequence[PlannedBlock], title: str, devices: Sequence[str]) -> str:
    """The plan of a table as text; `devices` are described in words."""
    rows = [row for block in planned for row in block.rows]
    states = ("finished", "begun", "ahead")
    number = {state: sum(len(row.seeds[state]) for row in rows) for state in states}
    counts = ", ".join(f"{count} {state}" for state, count in number.items())
    parts = [f"Plan of {title} on {', '.join(devices)}: {sum(number.values())} runs ({counts})"]
    parts += [_block_text(block) for block in planned]
    left = sum(row.seconds_left for row in rows) / len(devices)
    unknown = sum(row.unfinished for row in rows if row.seconds is None)
    parts.append(
        f"About {duration_text(left)} for what is not finished"
        + (f", without {unknown} runs of which nothing can be measured yet" if unknown else "")
        + ". From a few steps of each row here and now: reading features into memory, and AP, come "
        "on top. Nothing was run: no record, no folder."
    )
    return "\n\n".join(parts)


def _block_text(planned: PlannedBlock) -> str:
    block = planned.block
    lines = [
        {
            "row": row.label,
            "method": row.method,
            "preset": row.preset or "",
            "epochs": "" if row.epochs is None else str(row.epochs),
            **{state: ",".join(map(str, seeds)) for state, seeds in row.seeds.items()},
            "a run": "" if row.seconds is None else duration_text(row.seconds),
            "left": "" if row.seconds is None else duration_text(row.seconds_left),
            "": row.note,
        }
        for row in planned.rows
    ]
    store = f"missing: {planned.missing}" if planned.missing else f"features {planned.features}"
    texts = [f"{block.dataset}, {block.aggregator}, {block.encoder}; {store}"]
    texts.append(tabulate(lines, headers="keys", disable_numparse=True))
    texts.append("\n".join(_settings([row for row in planned.rows if row.settings])))
    texts += [f"{label}: {why}" for label, why in block.left_out.items()]
    return "\n\n".join(text for text in texts if text)


def _settings(rows: Sequence[PlannedRow]) -> list[str]:
    """Settings that all rows share, once, then the others of each row."""
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
