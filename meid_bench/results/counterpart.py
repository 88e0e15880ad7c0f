"""Counterpart: which published number a row may be subtracted from; board and report ask here."""

from collections.abc import Container

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.results.published import PublishedRow, plain_name, published_results
from meid_bench.results.record import Result
from meid_bench.results.rows import Row

# The registry's names of what tables call otherwise.
PRINTED = {"plain": "plainbce", "meidauthors": "meid"}


def counterpart(row: Row, benchmark: Benchmark) -> PublishedRow | None:
    """The published row of a row's method, aggregator and encoder, if there is one.

    A benchmark that declares published numbers has their very lists; subject-disjoint lists and
    one's own data have none. Where two tables print a row, the first counts.
    """
    record = row.run
    if benchmark.published is None or record is None or row.name != record.method:
        return None
    if not unchanged(record):
        return None
    method, encoder, aggregator = map(
        plain_name, (record.method, record.features.encoder, record.aggregator)
    )
    wanted = (PRINTED.get(method, method), encoder, aggregator)
    return next((p for p in published_results(benchmark.published) if p.names == wanted), None)


def unchanged(record: Result, own: Container[str] = ()) -> bool:
    """Whether a run is what a paper's number may be compared with.

    That is: of full length, after the method's own schedule, on features of a trained encoder, and
    with no setting changed but `own`, which are the printed row's.
    """
    whole = record.protocol == "paper" and not record.quick and not record.features.untrained
    return whole and all(name in own for name in record.changed)
