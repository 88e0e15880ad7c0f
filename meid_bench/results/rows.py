"""Rows of the board: runs that differ by nothing but the seed, their spread, marks and names."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from meid_bench.results.metrics import EVALUATOR, NUMBERS
from meid_bench.results.record import Record, Result, kind_of


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean over seeds and sample standard deviation (n - 1); None for one seed."""

    mean: float
    std: float | None


@dataclass(frozen=True)
class Row:
    """Runs that differ by nothing but the seed.

    Attributes:
        runs: Their folders with their records, by seed.
        variant: Settings that are not what the row's preset, or its method's defaults, have; then
            whatever else tells it from other rows of its method, "code" among it.
        scores: Each number of `NUMBERS`, and "<view> overall" where the videos have views, over
            the seeds; a measure that is not defined is left out.
        marks: What a reader must know before comparing this row.
    """

    runs: Mapping[Path, Record]
    variant: Mapping[str, Any]
    scores: Mapping[str, Spread]
    marks: tuple[str, ...]

    @property
    def first(self) -> Record:
        """One record: all agree in everything but the seed and what came of it."""
        return next(iter(self.runs.values()))

    @property
    def run(self) -> Result | None:
        """The first record where it is a run's; None for a submission."""
        return self.first if isinstance(self.first, Result) else None

    @property
    def name(self) -> str:
        """What tells the row apart, for example "cbs/e1/gamma=2.0"."""
        network = [] if self.run is None or self.run.network == "own" else [self.run.network]
        settings = [f"{key}={setting_text(value)}" for key, value in self.variant.items()]
        return "/".join([self.first.method, *network, *settings])

    @property
    def protocol(self) -> str | None:
        """As "paper", its own schedule, "changed" in some settings, or "equal"; if it has one."""
        if self.run is None:
            return None
        changed = self.run.protocol == "paper" and self.run.changed
        return "changed" if changed else self.run.protocol

    @property
    def features_fingerprint(self) -> str | None:
        """Of what the row was trained on; None for a submission."""
        return None if self.run is None else self.run.features.fingerprint

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds; none for a submission."""
        return tuple(record.seed for record in self.runs.values() if isinstance(record, Result))


def make_row(runs: Mapping[Path, Record]) -> Row:
    """The row of runs that differ by nothing but the seed: run folder to record."""
    ordered = dict(sorted(runs.items(), key=lambda item: (getattr(item[1], "seed", 0), item[0])))
    records = list(ordered.values())
    scores: dict[str, Spread] = {}
    for name in NUMBERS:
        _add(scores, name, [getattr(record.test, name) for record in records])
    for view in records[0].test.views:
        values = [record.test.views.get(view, {}).get("overall") for record in records]
        _add(scores, f"{view} overall", values)
    row = Row(ordered, {}, scores, _marks(records))
    changed = {} if row.run is None else {k: row.run.settings[k] for k in sorted(row.run.changed)}
    return replace(row, variant=changed)


def _add(scores: dict[str, Spread], measure: str, values: Iterable[float | None]) -> None:
    known = [value for value in values if value is not None]
    if known:
        scores[measure] = Spread(fmean(known), stdev(known) if len(known) > 1 else None)


def _marks(records: Sequence[Record]) -> tuple[str, ...]:
    conditions = {"submission": not isinstance(records[0], Result)}
    if isinstance(records[0], Result):
        run = records[0]
        missing = ", ".join(f"{len(ids)} {split}" for split, ids in run.missing.items() if ids)
        conditions |= {
            "quick": run.quick,
            "untrained encoder": run.features.untrained,
            "imported features": run.features.imported,
            f"missing {missing}": bool(missing),
        }
    conditions |= {
        "warnings": any(record.warnings for record in records),
        "several versions": len({(record.version, record.commit) for record in records}) > 1,
        "another evaluator (--rescore)": any(record.evaluator != EVALUATOR for record in records),
    }
    return tuple(mark for mark, holds in conditions.items() if holds)


def name_variants(rows: Sequence[Row]) -> list[Row]:
    """Name also what else tells rows of a method apart: no two look the same.

    Where features of one id were made under several conditions, every row on them names its own.
    """
    named = []
    for row in rows:
        same = [_conditions(r) for r in rows if r.features_fingerprint == row.features_fingerprint]
        conditions = {
            key: value
            for key, value in _conditions(row).items()
            if any(other.get(key) != value for other in same)
        }
        alike = [other for other in rows if _kind(other) == _kind(row)]
        own, others = _telling(row), [_telling(other) for other in alike]
        keys = sorted({key for other in others for key in other})
        more = {
            key: own.get(key)
            for key in keys
            if len({json.dumps(other.get(key), sort_keys=True) for other in others}) > 1
        }
        named.append(replace(row, variant={**row.variant, **more, **conditions}))
    return named


def _conditions(row: Row) -> dict[str, str]:
    """How a row's features were made, beside what their id says; for its name, without commas."""
    provenance = row.run.features.provenance if row.run else {}
    return {f"features.{key}": str(value).replace(",", "") for key, value in provenance.items()}


def _telling(row: Row) -> dict[str, Any]:
    """Everything that may tell a row from those that a line of the board shows alike."""
    return {} if row.run is None else {**row.run.settings, "code": row.run.code[:8]}


def _kind(row: Row) -> tuple[str, ...]:
    """What a line of the board shows anyway; only rows that agree in it need telling apart."""
    shown: tuple[Any, ...] = (kind_of(row.first), row.first.method)
    if row.run is not None:
        shown += (row.run.aggregator, row.run.network, row.run.preset, row.run.protocol)
    rest = (row.features_fingerprint, dict(row.variant))
    return tuple(json.dumps(item, sort_keys=True) for item in (*shown, *rest))


def setting_text(value: Any) -> str:
    """A setting's value in a row's name, without the commas that divide names."""
    if isinstance(value, list):
        return "+".join(map(setting_text, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
