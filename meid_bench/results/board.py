"""Board: a pure function of records."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from meid_bench.benchmark.benchmark import Benchmark, load_benchmark
from meid_bench.files import home, runs_dir
from meid_bench.results.metrics import chance
from meid_bench.results.record import Features, Record, Result, kind_of, read_records
from meid_bench.results.rescore import rescore as recompute
from meid_bench.results.rows import Row, make_row, name_variants

PROTOCOL_TITLES = {
    frozenset({"paper"}): "paper",
    frozenset({"paper", "changed"}): "paper, or changed where a row names settings",
    frozenset({"changed"}): "changed, as every row names",
    frozenset({"equal"}): "equal",
}


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
        features = self.features
        # A family's name and a clip are more than the folder's name can say.
        encoder = f" by {features.encoder}" if ":" in features.encoder else ""
        return f"protocol {name}, features {features.name} ({features.short_id}){encoder}"


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
    rows = name_variants([make_row(runs) for runs in kept.values()])
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
