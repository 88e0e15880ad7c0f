"""Registered methods on the toy task, with aggregators of a few numbers."""

from collections.abc import Mapping
from typing import Any

import torch

from meid_bench.methods.aggregators import aggregator_maker, find_aggregator
from meid_bench.methods.method import Method
from meid_bench.methods.registry import find_method
from meid_bench.methods.settings import changed
from tests.toy import TASK

SMALL = {"clusters": 4, "hidden": 16}


def toy_method(
    name: str, aggregator: str, settings: Mapping[str, Any], dropout: float | None = None
) -> Method:
    """A method with the weights of seed 0; `dropout` is the aggregator's own where left out."""
    torch.manual_seed(0)
    kind = find_method(name)
    config = find_aggregator(aggregator).Config()
    if aggregator != "nonlinear":
        config = changed(config, SMALL)
    if dropout is not None and hasattr(config, "dropout"):
        config = changed(config, {"dropout": dropout})
    make = aggregator_maker(aggregator, config, TASK.frames)
    return kind(TASK, changed(kind.Config(), settings), make)
