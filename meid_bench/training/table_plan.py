"""Table plan: every run behind a table, what is finished, and how long the rest would take."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from meid_bench.errors import MeidBenchError
from meid_bench.methods.presets import preset_in_force
from meid_bench.methods.registry import find_method
from meid_bench.training.paper_table import PUBLISHED, Block, Variant
from meid_bench.training.reproduce import Part, find_part, request_of
from meid_bench.training.request import Plan, plan, resolve
from meid_bench.training.wish import Wish, wanted_blocks


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
        block: Its rows are under the wish's preset where the benchmark is there.
        part: With its features; None where something is missing.
        missing: What is, and the command that makes it; None where nothing is.
        rows: In the table's order.
    """

    block: Block
    part: Part | None
    missing: str | None
    rows: tuple[PlannedRow, ...]


def plan_table(
    wish: Wish, root: Path, seconds_of: Callable[[str, Plan], float]
) -> list[PlannedPart]:
    """Look up every run of a table; nothing is run and nothing is written.

    Args:
        wish: What was asked.
        root: The data root.
        seconds_of: Label of a run and the run -> how long it takes; asked once for each row with
            a run ahead.
    """
    blocks = wanted_blocks(wish)
    planned = []
    for block in blocks:
        try:
            part = find_part(wish, block, blocks, root)
        except MeidBenchError as error:
            rows = tuple(_unplanned(wish, block, variant) for variant in block.variants)
            planned.append(PlannedPart(block, None, str(error), rows))
            continue
        rows = tuple(_row(wish, part, v, root, seconds_of) for v in part.block.variants)
        planned.append(PlannedPart(part.block, part, None, rows))
    return planned


def _row(
    wish: Wish, part: Part, variant: Variant, root: Path, seconds_of: Callable[[str, Plan], float]
) -> PlannedRow:
    requests = [request_of(wish, part, variant, seed) for seed in wish.seeds]
    try:
        plans = [plan(request, root) for request in requests]
        first = next((planned for planned in plans if not planned.finished), None)
        seconds = None if first is None else seconds_of(requests[0].label or "", first)
    except MeidBenchError as error:
        return _unplanned(wish, part.block, variant, str(error))
    begun = [not planned.finished and planned.folder.is_dir() for planned in plans]
    states = list(zip(wish.seeds, plans, begun, strict=True))
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
        note=_note(wish, variant),
    )


def _note(wish: Wish, variant: Variant) -> str:
    return f"has no preset {wish.preset}" if wish.preset and variant.preset is None else ""


def _unplanned(wish: Wish, block: Block, variant: Variant, problem: str = "") -> PlannedRow:
    """A row without its benchmark or its features: what can be said of it all the same."""
    published = PUBLISHED.get(block.dataset)
    method, preset = preset_in_force(variant.method, variant.preset, published)
    given = {**wish.settings, **variant.settings}
    settings: dict[str, Any] = {}
    try:
        own, runner = resolve(
            find_method(method), block.aggregator, preset, given, wish.protocol, wish.quick
        )
        settings = {**own, **asdict(runner)}
    except MeidBenchError as error:
        problem = str(error)
    note = problem or _note(wish, variant)
    return PlannedRow(variant.label, method, preset, settings, None, (), (), wish.seeds, None, note)
