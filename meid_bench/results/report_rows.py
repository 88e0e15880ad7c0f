"""The report's lines: labels, cells and facts of rows and runs, in words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meid_bench.codec import encode
from meid_bench.number_text import score_text
from meid_bench.results.board import Board
from meid_bench.results.board_text import row_texts
from meid_bench.results.metrics import NUMBERS
from meid_bench.results.record import Record, Result
from meid_bench.results.repeat_command import repeat_command
from meid_bench.results.rows import Row

METRICS = ("val", "test", "last_epoch_val", "last_epoch_test")


def row_labels(board: Board) -> list[str]:
    """A short label per row, with as much as it takes to tell it from the others."""
    rows = board.rows
    parts = [
        (row.name, row.run and row.run.aggregator, row.run and row.run.preset, row.protocol,
         row.run.features.short_id if row.run else "submission")
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


def cells(rank: int, row: Row, board: Board) -> dict[str, Any]:
    """A line of the board: for every column its text, and the value to sort it by."""
    texts = row_texts(rank, row, board)
    line = {key: {"text": text, "value": text} for key, text in texts.items()}
    for name in row.scores:
        line[name]["value"] = repr(row.scores[name].mean)
    return {"method": row.first.method, "aggregator": texts["aggregator"], "cells": line}


def class_aps(row: Row) -> list[float | None]:
    """Mean over seeds of each class's AP; None where no test video shows the class."""
    runs = [record.test.per_class_ap for record in row.runs.values()]
    return [
        None if ap[0] is None else round(float(np.mean(ap)), 4) for ap in zip(*runs, strict=True)
    ]


def run_title(label: str, record: Record) -> str:
    """A row's label with the run's seed."""
    return f"{label}, seed {record.seed}" if isinstance(record, Result) else label


def run_facts(title: str, folder: Path, record: Record) -> dict[str, Any]:
    """Everything that a record says, in words, and the command that repeats it."""
    facts = {"folder": folder.name}
    for name in METRICS:
        metrics = getattr(record, name, None)
        if metrics is not None:
            facts[name] = _listed({number: getattr(metrics, number) for number in NUMBERS})
    missing = record.missing if isinstance(record, Result) else {}
    facts["missing"] = _listed({split: len(ids) for split, ids in missing.items()})
    others = {name: value for name, value in encode(record).items() if name not in facts}
    facts |= {name: _listed(value) for name, value in others.items() if name != "warnings"}
    return {
        "title": title,
        "overall": score_text(record.test.overall),
        "command": repeat_command(record),
        "facts": [(name.replace("_", " "), text) for name, text in facts.items() if text],
    }


def _listed(value: Any) -> str:
    """A value of a record in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_listed(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(map(_listed, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
