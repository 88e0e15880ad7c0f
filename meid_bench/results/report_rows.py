"""The report's lines: labels, cells and facts of rows and runs, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from meid_bench.benchmark.longtail import GROUPS
from meid_bench.number_text import score_text
from meid_bench.results.board import Board
from meid_bench.results.board_text import spread_text
from meid_bench.results.counterpart import counterpart
from meid_bench.results.metrics import NUMBERS
from meid_bench.results.record import Record, Result
from meid_bench.results.repeat_command import repeat_command
from meid_bench.results.rows import Row, Spread


def row_labels(board: Board) -> list[str]:
    """A short label per row, with as much as it takes to tell it from the others."""
    rows = board.rows
    parts = [
        (row.name, row.run and row.run.aggregator, row.run and row.run.preset, row.protocol,
         (row.features_fingerprint or "submission")[:10])
        for row in rows
    ]  # fmt: skip
    varied = [len({part[column] for part in parts}) > 1 for column in range(5)]
    varied[:2] = [True, True]
    labels = [
        " · ".join(str(item) for item, shown in zip(part, varied, strict=True) if shown and item)
        for part in parts
    ]
    return [
        f"{label} #{labels[: i + 1].count(label)}" if labels.count(label) > 1 else label
        for i, label in enumerate(labels)
    ]


def match_published(board: Board, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Label to the group values of its row's published counterpart."""
    matched = {}
    for row, label in zip(board.rows, labels, strict=True):
        published = counterpart(row, board.benchmark)
        if published is not None:
            matched[label] = {group: float(getattr(published, group)) for group in GROUPS}
    return matched


def cells(rank: int, row: Row) -> dict[str, Any]:
    """A line of the board: for every column its text, and the value to sort it by."""
    aggregator = row.run.aggregator if row.run else ""
    texts: dict[str, str] = {
        "method": row.name,
        "aggregator": aggregator,
        "preset": (row.run and row.run.preset) or "",
        "notes": "; ".join(row.marks),
    }
    line = {key: {"text": text, "value": text} for key, text in texts.items()}
    line["rank"] = {"text": str(rank), "value": str(rank)}
    seeds = str(len(row.seeds) or "")
    line["seeds"] = {"text": seeds, "value": seeds}
    for name in NUMBERS:
        spread: Spread | None = row.scores.get(name)
        line[name] = {
            "text": "" if spread is None else spread_text(spread),
            "value": "" if spread is None else repr(spread.mean),
        }
    return {"method": row.first.method, "aggregator": aggregator, "cells": line}


def class_aps(row: Row) -> list[float | None]:
    """Mean over seeds of each class's AP; None where no test video shows the class."""
    runs = [record.test.per_class_ap for record in row.runs.values()]
    return [
        None if ap[0] is None else round(float(np.mean(ap)), 4) for ap in zip(*runs, strict=True)
    ]


def run_title(label: str, record: Record) -> str:
    """A row's label with the run's seed."""
    return f"{label}, seed {record.seed}" if isinstance(record, Result) else label


def run_facts(label: str, folder: Path, record: Record) -> dict[str, Any]:
    """Everything that a record says, in words, and the command that repeats it."""
    skipped = {"test", "val", "last_epoch_test", "last_epoch_val", "warnings", "missing"}
    facts: list[tuple[str, str]] = [("folder", folder.name)]
    for name in ("val", "test", "last_epoch_val", "last_epoch_test"):
        metrics = getattr(record, name, None)
        if metrics is not None:
            values = {n: getattr(metrics, n) for n in NUMBERS}
            facts.append((name.replace("_", " "), _listed(values)))
    missing = record.missing if isinstance(record, Result) else {}
    facts.append(("missing", _listed({split: len(ids) for split, ids in missing.items()})))
    for name, value in asdict(record).items():
        if name not in skipped:
            facts.append((name.replace("_", " "), _listed(value)))
    return {
        "title": run_title(label, record),
        "overall": score_text(record.test.overall),
        "command": repeat_command(record),
        "facts": [(name, text) for name, text in facts if text],
    }


def _listed(value: Any) -> str:
    """A value of a record in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_listed(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(_listed, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
