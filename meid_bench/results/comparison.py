"""Compare rows of a board: is the difference real, and who cannot be told from the best?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from meid_bench.errors import SettingError, unknown
from meid_bench.results.board import Board, Section
from meid_bench.results.joint_intervals import ConfidenceInterval
from meid_bench.results.row_draws import RowDraws
from meid_bench.results.rows import Row

FEW_CLUSTERS = 20
# Measured by tools/simulate_marks.py with 36 subjects: where seeds move mAP not at all, half as
# much as the test list does, as much, twice, and four times as much.
ONE_SEED = "96, 90, 76, 50 and 28 %"
FEW_SEEDS = "95 to 99 %"
TIED = "cannot be told from the best"


@dataclass(frozen=True)
class Comparison:
    """Differences of rows, with intervals from one bootstrap.

    Attributes:
        names: The rows, as they were asked for.
        differences: (first, second) to measure to interval of first - second.
        best: The named row with the highest overall mAP.
        tied: Named rows that cannot be told from the best at 5 %.
        p: Every other named row to the p-value of "overall as good as the best".
        family: Rows whose pairs share the intervals' 5 %: those of the named rows' sections.
        resamples: How many.
        clusters: How many clusters were resampled.
        unit: "subjects"; "videos" or "groups of videos" where no subjects are known.
        dropped: Measure to the mean number of classes that a resample left without positives.
        notes: What the intervals do not say, sentences.
    """

    names: tuple[str, ...]
    differences: Mapping[tuple[str, str], Mapping[str, ConfidenceInterval]]
    best: str
    tied: tuple[str, ...]
    p: Mapping[str, float]
    family: int
    resamples: int
    clusters: int
    unit: str
    dropped: Mapping[str, float]
    notes: tuple[str, ...]


def compare(board: Board, names: Sequence[str]) -> Comparison:
    """Compare rows of a board, each with the first named, by a paired bootstrap over subjects.

    The intervals are those of the board's own marks: they hold for all rows of a section together,
    whichever of them are named here.

    Args:
        board: Whose rows.
        names: Two or more rows: a method, with what else tells it apart after slashes, for
            example "cbs" or "cbs/netvlad/equal".

    Raises:
        SettingError: A name fits no row, or several; fewer than two rows.
        DataError: A named row's scores are missing, damaged, or of other videos.
    """
    if len(set(names)) < 2:
        raise SettingError(f"--compare {','.join(names)} names fewer than two rows; expected a,b")
    rows = {name: find_row(board, name) for name in names}
    if len({id(row) for row in rows.values()}) < len(rows):
        raise SettingError(f"--compare {','.join(names)} names one row twice; expected two rows")
    involved = [s for s in board.sections if any(row in s.rows for row in rows.values())]
    draws = RowDraws(board, involved, list(rows.values()))
    first, *others = rows
    best = max(rows, key=lambda name: draws.overall(rows[name]))
    from_best = {name: draws.intervals(rows[best], rows[name]) for name in rows if name != best}
    return Comparison(
        names=tuple(rows),
        differences={(first, other): draws.intervals(rows[first], rows[other]) for other in others},
        best=best,
        tied=tuple(name for name, found in from_best.items() if not told(found)),
        p={name: found["overall"].p for name, found in from_best.items() if found},
        family=sum(len(section.rows) for section in involved),
        resamples=draws.resamples,
        clusters=draws.clusters,
        unit=draws.unit,
        dropped=draws.dropped(),
        notes=(*draws.notes, *_notes(board, rows, draws)),
    )


def told(found: Mapping[str, ConfidenceInterval]) -> bool:
    """Whether the first of two rows is better overall by more than chance."""
    return "overall" in found and found["overall"].differs and found["overall"].low > 0


def mark_ties(board: Board) -> tuple[Board, list[str]]:
    """The board with a mark on every row that cannot be told from the best of its section.

    Returns:
        The board, and sentences on what could not be tested, or was drawn again.
    """
    tested = [section for section in board.sections if len(section.rows) > 1]
    if not tested:
        return board, []
    draws = RowDraws(board, tested)
    sections = [_marked(s, draws) if len(s.rows) > 1 else s for s in board.sections]
    return replace(board, sections=tuple(sections)), draws.notes


def _marked(section: Section, draws: RowDraws) -> Section:
    drawn = [row for row in section.rows if draws.has(row)]
    best = max(drawn, key=draws.overall, default=None)
    rows = [
        row
        if best is None or row is best or not draws.has(row) or told(draws.intervals(best, row))
        else replace(row, marks=(*row.marks, TIED))
        for row in section.rows
    ]
    return replace(section, rows=tuple(rows))


def find_row(board: Board, name: str) -> Row:
    """The row that a name means: every part between slashes must be said of it.

    Where several rows fit, the one of which nothing else is said is meant.

    Raises:
        SettingError: No row fits, or several; these are listed with names that tell them apart.
    """
    parts = [part.strip() for part in name.split("/") if part.strip()]
    fitting = [row for row in board.rows if parts and set(parts) <= set(_tags(row))]
    whole = [row for row in fitting if set(parts) == set(_tags(row))]
    if len(fitting) == 1 or len(whole) == 1:
        return (whole or fitting)[0]
    if not fitting:
        raise unknown("row of the board", name, {row.name for row in board.rows})
    raise SettingError(
        f"{name!r} fits {len(fitting)} rows; choose one: "
        + ", ".join(full_name(row) for row in fitting)
    )


def full_name(row: Row) -> str:
    """Everything that tells a row apart, in the form that `find_row` takes."""
    return "/".join(_tags(row))


def _tags(row: Row) -> list[str]:
    tags = row.name.split("/")
    if row.run is None:
        return [*tags, "submission"]
    if row.run.network not in tags:
        tags.append(row.run.network)
    shown = (row.run.aggregator, row.run.preset or "default", row.protocol)
    return [*tags, *map(str, shown), row.run.features.short_id]


def _notes(board: Board, rows: Mapping[str, Row], draws: RowDraws) -> tuple[str, ...]:
    notes = []
    fewest = min(len(row.runs) for row in rows.values())
    if fewest == 1:
        names = ", ".join(name for name, row in rows.items() if len(row.runs) == 1)
        notes.append(
            f"{names}: one seed. How far another would move the number it cannot tell; that is "
            "taken from rows with several seeds, and left out where there are none: such intervals "
            f"held a true zero in {ONE_SEED} of simulations where seeds move mAP 0, 0.5, 1, 2 and "
            "4 times as much as the test list does."
        )
    if fewest in (2, 3):
        notes.append(
            "Two or three seeds say little of their own variance; the intervals are wider for it "
            f"(Student's t over the seeds of all rows), and held a true zero in {FEW_SEEDS} of the "
            "same simulations."
        )
    if draws.unit != "subjects":
        notes.append(
            f"{board.benchmark.name} knows no subjects: videos were resampled, as if each were "
            "independent of the others. Where they are not, the intervals are too narrow."
        )
    if draws.clusters < FEW_CLUSTERS:
        notes.append(f"Only {draws.clusters} {draws.unit}: take the intervals with caution.")
    if len({row.features_fingerprint for row in rows.values()}) > 1:
        notes.append("The rows differ in features too, not in the method alone.")
    if len({row.run.protocol if row.run else None for row in rows.values()}) > 1:
        notes.append("The rows differ in protocol too, not in the method alone.")
    if len({row.first.version for row in rows.values()}) > 1:
        notes.append("The rows were made by different versions of meid-bench.")
    return tuple(notes)
