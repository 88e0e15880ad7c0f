"""Published numbers, from one packaged file that says where each is from; never ranked."""

import json
from dataclasses import dataclass
from functools import cache

from meid_bench.errors import unknown
from meid_bench.longtail import Statistics
from meid_bench.paths import package_file
from meid_bench.schema import decode

FILE = "published_results.json"


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One printed row of mean average precisions.

    Attributes:
        table: "2" to "7" of the MEID paper, or "zoo" for VideoLT's model zoo.
        dataset: "VideoLT", "CharadesLT" or "CharadesEgoLT".
        method: As printed; in Tables 4 to 7 the variant's name.
        encoder: As printed.
        aggregator: As printed; None where the table does not say.
        overall, head, medium, tail: As printed, in [0, 1].
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
    source: str
    note: str | None


def published_rows(table: str) -> tuple[PublishedRow, ...]:
    """The rows of one table ("2" to "7", or "zoo"), in printed order.

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


def published_results(dataset: str) -> tuple[PublishedRow, ...]:
    """The rows that stand below a data set's board: whole methods, no ablations.

    Args:
        dataset: `Benchmark.published`.

    Raises:
        SettingError: Nothing was published of that data set.
    """
    _, rows = _load()
    found = tuple(row for row in rows if row.dataset == dataset and row.table in ("2", "3", "zoo"))
    if not found:
        raise unknown("published data set", dataset, {row.dataset for row in rows})
    return found


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
    data = json.loads(package_file(FILE).read_text(encoding="utf-8"))
    rows = (row | {"source": data["sources"][row["source"]]} for row in data["rows"])
    return data, tuple(decode(PublishedRow, row) for row in rows)
