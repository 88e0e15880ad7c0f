"""Leaderboard: a pure function of records, and the frame that a user gets of it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from meid_bench.benchmark.benchmark import Benchmark, load_benchmark
from meid_bench.files import home, runs_dir
from meid_bench.results.metrics import EVALUATOR, NUMBERS, chance
from meid_bench.results.record import Features, Record, Result, kind_of, read_records
from meid_bench.results.rescore import rescore as recompute

PROTOCOL_TITLES = {
    frozenset({"paper"}): "paper",
    frozenset({"paper", "changed"}): "paper, or changed where a row names settings",
    frozenset({"changed"}): "changed, as every row names",
    frozenset({"equal"}): "equal",
}


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


@dataclass(frozen=True)
class Section:
    """Rows that may be ranked against each other: one protocol, one feature id.

    Where the rows' features differ in provenance, each row names what it has. `features` and
    `protocol` are None for submissions, whose features nobody here knows.
    """

    features: Features | None
    protocol: str | None
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Heading, for example "protocol paper, features resnet101-... (1a2b3c4d)"."""
        if self.features is None:
            return "submissions: scores made elsewhere, on features that are not known here"
        name = PROTOCOL_TITLES[frozenset(str(row.protocol) for row in self.rows)]
        return f"protocol {name}, features {self.features.name} ({self.features.fingerprint[:8]})"


@dataclass(frozen=True)
class Board:
    """The board of one benchmark.

    Attributes:
        title: Names the benchmark.
        benchmark: What it is the board of.
        sections: Never ranked against each other.
        chance: Each number as a random ranking gives it on average.
        left_out: One sentence for each record, or kind of record, that is not on the board.
        differing: One sentence for each record that its saved scores contradict.
    """

    title: str
    benchmark: Benchmark
    sections: tuple[Section, ...]
    chance: Mapping[str, float | None]
    left_out: tuple[str, ...]
    differing: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row, in the order of the sections."""
        return tuple(row for section in self.sections for row in section.rows)


def make_board(
    records: Mapping[Path, Record],
    benchmark: Benchmark,
    problems: Sequence[str] = (),
    quick: bool = False,
) -> Board:
    """The board of a benchmark, from records alone.

    Args:
        records: Run folder to record.
        benchmark: Every record of another benchmark, or of another fingerprint, is left out.
        problems: Sentences about records that could not be read.
        quick: Show quick records alone, as what they are, in place of the board.
    """
    left_out = list(problems)
    kept: dict[str, dict[Path, Record]] = {}
    others = 0
    for folder, record in _latest(records, left_out).items():
        if (record.benchmark, record.benchmark_fingerprint) != (
            benchmark.name,
            benchmark.fingerprint,
        ):
            left_out.append(
                f"{folder}: its benchmark is {record.benchmark} "
                f"{record.benchmark_fingerprint[:8]}, this board's is {benchmark.name} "
                f"{benchmark.fingerprint[:8]}; it is left out"
            )
        elif len(record.test.per_class_ap) != len(benchmark.classes):
            left_out.append(
                f"{folder}: it has AP of {len(record.test.per_class_ap)} classes; "
                f"{benchmark.name} has {len(benchmark.classes)}; it is left out"
            )
        elif (isinstance(record, Result) and record.quick) != quick:
            others += 1
        else:
            kept.setdefault(_row_key(record), {})[folder] = record
    if others:
        left_out.append(
            f"{others} records of full length are not shown among quick ones"
            if quick
            else f"{others} quick records are never on the board"
        )
    rows = _name_variants([make_row(runs) for runs in kept.values()])
    return Board(
        title=f"{benchmark.title}: quick runs, a shortened schedule" if quick else benchmark.title,
        benchmark=benchmark,
        sections=_sections(rows),
        chance=chance(benchmark.labels("test"), benchmark.groups),
        left_out=tuple(left_out),
    )


def load_board(dataset: str, root: Path | None = None, rescore: bool = False) -> Board:
    """Read every record of a benchmark and make its board.

    Args:
        dataset: Name of a built benchmark.
        root: The data root; $MEID_BENCH_HOME or ./data where it is left out.
        rescore: Recompute each record's test metrics from its saved scores.

    Raises:
        MeidBenchError: The benchmark has not been built.
    """
    root = home() if root is None else root
    benchmark = load_benchmark(dataset, root)
    records, problems = read_records(runs_dir(root, dataset))
    if not rescore:
        return make_board(records, benchmark, problems)
    records, differing = recompute(records, benchmark)
    return replace(make_board(records, benchmark, problems), differing=tuple(differing))


def _latest(records: Mapping[Path, Record], left_out: list[str]) -> dict[Path, Record]:
    """Leave out a run that a later one of the same row and seed replaces: it counts once."""
    newest: dict[tuple[str, int | None], Path] = {}
    for folder, record in sorted(records.items(), key=lambda item: (item[1].date, item[0])):
        quick, seed = (record.quick, record.seed) if isinstance(record, Result) else (False, None)
        key = (f"{record.benchmark_fingerprint}{quick}{_row_key(record)}", seed)
        if key in newest:
            left_out.append(f"{newest[key]}: {folder.name} repeats it, with the same seed, later")
        newest[key] = folder
    return {folder: records[folder] for folder in sorted(newest.values())}


def _row_key(record: Record) -> str:
    """Everything that runs of one row have in common, as one string."""
    if not isinstance(record, Result):
        return json.dumps([kind_of(record), record.method])
    features = [record.features.fingerprint, dict(record.features.provenance)]
    missing = {split: sorted(ids) for split, ids in record.missing.items()}
    parts = (record.method, record.aggregator, record.network, record.preset, record.protocol)
    rest = (features, missing, record.settings, record.code)
    return json.dumps([parts, rest], sort_keys=True)


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


def _name_variants(rows: Sequence[Row]) -> list[Row]:
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


def _sections(rows: Iterable[Row]) -> tuple[Section, ...]:
    sections: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        key = (row.run.protocol if row.run else "", row.features_fingerprint or "")
        sections.setdefault(key, []).append(row)
    # Submissions, whose key is empty, come last.
    ordered = sorted(sections, key=lambda key: (not key[1], key))
    return tuple(
        Section(
            features=run.features if (run := sections[key][0].run) else None,
            protocol=run.protocol if run else None,
            rows=tuple(sorted(sections[key], key=lambda r: (-r.scores["overall"].mean, r.name))),
        )
        for key in ordered
    )


def setting_text(value: Any) -> str:
    """A setting's value in a row's name, without the commas that divide names."""
    if isinstance(value, list):
        return "+".join(map(setting_text, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
