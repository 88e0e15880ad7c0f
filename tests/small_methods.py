"""Registered methods on the toy task, with aggregators of a few numbers, and batches for them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from meid_bench.methods.aggregators import aggregator_maker, find_aggregator
from meid_bench.methods.method import Batch, Method, Stage
from meid_bench.methods.registry import find_method
from meid_bench.methods.settings import changed
from meid_bench.methods.trainable import select_trainable, training_mode
from tests.toy import TASK, toy_examples

SMALL = {"clusters": 4, "hidden": 16}


def toy_method(
    name: str, aggregator: str, settings: Mapping[str, Any], dropout: float | None = None
) -> Method:
    """A method with the weights of seed 0; `dropout` is each layer's own where left out."""
    torch.manual_seed(0)
    kind = find_method(name)
    config = find_aggregator(aggregator).Config()
    if aggregator != "nonlinear":
        config = changed(config, SMALL)
    make = aggregator_maker(aggregator, config, TASK.frames)
    method = kind(TASK, changed(kind.Config(), settings), make)
    for module in method.modules():
        if dropout is not None and isinstance(module, nn.Dropout):
            module.p = dropout
    return method


def small_batch(size: int = 12, picked: bool = False, seed: int = 0) -> Batch:
    """The toy's first videos; the class that is picked of each is its first."""
    examples = toy_examples()
    labels = torch.from_numpy(examples.labels[:size]).float()
    drawn = labels.argmax(1) if picked else None
    generator = torch.Generator().manual_seed(seed)
    return Batch(examples.features[:size].float(), labels, drawn, generator)


def in_stage(method: Method, number: int) -> Stage:
    """A stage by its number, with the method ready to be trained in it."""
    stage = method.stages()[number]
    method.begin_stage(stage)
    select_trainable(method, stage)
    training_mode(method)
    return stage
