"""Published numbers, from one packaged file that says where each is from; never ranked."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from meid_bench.benchmark.longtail import Statistics
from meid_bench.codec import decode
from meid_bench.errors import unknown

NUMBERS_FILE = "published_results.json"
# Tables of whole methods; one that prints accuracies too comes before one that does not.
WHOLE_METHODS = ("s4", "2", "3", "s5", "zoo")


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One printed row of numbers.

    Attributes:
        table: "2" to "7" of the MEID paper, "s1" to "s5" of its supplement, or "zoo" for VideoLT's
            model zoo.
        dataset: "VideoLT", "CharadesLT" or "CharadesEgoLT".
        method: As printed, MEID for "Ours"; in the ablations the variant's name.
        encoder: As printed in Table 2, for example "ResNet-101".
        aggregator: As printed; None where the table does not say.
        overall, head, medium, tail: Mean average precisions as printed, in [0, 1].
        acc1, acc5: Acc@1 and Acc@5 as printed, in [0, 1]; None where they are not.
        source: Who printed it, a citation.
        note: What a reader of the number should know, or None.
    """

    table: str
    dataset: str
    method: str
    encoder: str
    aggregator: str | None
    overall: float
    head: float
    medium: float
    tail: float
    acc1: float | None
    acc5: float | None
    source: str
    note: str | None

    @property
    def names(self) -> tuple[str, str, str]:
        """Method, encoder and aggregator as `plain_name` has them; "" where none is printed."""
        return plain_name(self.method), plain_name(self.encoder), plain_name(self.aggregator or "")


def plain_name(name: str) -> str:
    """A name as papers and the registry spell it alike: "CB Loss" is "cbloss"."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def table_title(table: str) -> str:
    """A table as one speaks of it.

    Example:
        >>> table_title("3"), table_title("s4")
        ('Table 3', 'supplement, Table 4')
    """
    number = table.removeprefix("s")
    return f"Table {number}" if number == table else f"supplement, Table {number}"


def published_rows(table: str) -> tuple[PublishedRow, ...]:
    """The rows of one table ("2" to "7", "s1" to "s5", or "zoo"), in printed order.

    Raises:
        SettingError: No such table of average precisions was published.

    Example:
        >>> [row.method for row in published_rows("7")]
        ['0.3', '0.5', '0.7']
    """
    _, rows = _load()
    found = tuple(row for row in rows if row.table == table)
    if not found:
        raise unknown("published table", table, {row.table for row in rows})
    return found


def published_results(dataset: str | None) -> tuple[PublishedRow, ...]:
    """The rows that stand below a data set's board: whole methods, no ablations.

    What two tables print stands once, in the form that says more.

    Args:
        dataset: `Benchmark.published`; nothing was published where it is None.

    Raises:
        SettingError: Nothing was published of that data set.
    """
    if dataset is None:
        return ()
    _, rows = _load()
    found: dict[tuple[object, ...], PublishedRow] = {}
    for table in WHOLE_METHODS:
        for row in (row for row in rows if (row.table, row.dataset) == (table, dataset)):
            numbers = (row.overall, row.head, row.medium, row.tail)
            found.setdefault((row.method, row.encoder, row.aggregator, *numbers), row)
    if not found:
        raise unknown("published data set", dataset, {row.dataset for row in rows})
    return tuple(found.values())


def caution(dataset: str) -> str:
    """Why a data set's published numbers are in a block of their own, half a sentence."""
    data, _ = _load()
    text: str = data["cautions"][dataset]
    return text


def published_statistics(dataset: str) -> Statistics:
    """The paper's Table 1 row of one data set.

    Raises:
        SettingError: Table 1 has no such row.
    """
    data, _ = _load()
    rows = {row["dataset"]: row for row in data["statistics"]}
    if dataset not in rows:
        raise unknown("row of Table 1", dataset, rows)
    return decode(Statistics, {k: v for k, v in rows[dataset].items() if k != "dataset"})


@cache
def _load() -> tuple[dict, tuple[PublishedRow, ...]]:  # type: ignore[type-arg]
    data = json.loads(Path(__file__).with_name(NUMBERS_FILE).read_text(encoding="utf-8"))
    rows = (row | {"source": data["sources"][row["source"]]} for row in data["rows"])
    return data, tuple(decode(PublishedRow, row) for row in rows)
