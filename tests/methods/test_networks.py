"""Any loss or sampler on the first expert's network; a class that training never sees."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from meid_bench.benchmark.annotation import Annotation
from meid_bench.methods.registry import find_method
from meid_bench.results.record import load_scores
from meid_bench.training.request import Request, plan_run
from meid_bench.training.run import run
from tests.methods.test_contract import METHODS, OWN_NETWORK
from tests.toy import toy_benchmark, toy_features, write_features

CPU = torch.device("cpu")
SHORT = {"epochs": "2", "milestones": "", "batch": "16"}


BASELINES = [n for n in METHODS if not n.startswith("meid") and n not in OWN_NETWORK]


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_runs_on_the_first_experts_network(name: str, toy_root: Path) -> None:
    request = Request(name, dataset="toy", aggregator="nonlinear", settings=SHORT)
    own = plan_run(request, toy_root)
    e1 = plan_run(replace(request, network="e1"), toy_root)
    assert own.folder != e1.folder
    result = run(e1, CPU)
    assert result.network == "e1" and result.method == name
    # Embedding: LayerNorm 2D, linear D^2 + D; attention of width 512: 512 D + 512, 512 + 1.
    D = own.model.task.width
    extra = 2 * D + D * D + D + 512 * D + 512 + 512 + 1
    assert result.parameters == (run(own, CPU).parameters or 0) + extra


@pytest.mark.parametrize("name", METHODS)
def test_a_class_without_training_videos_breaks_nothing(name: str, tmp_path: Path) -> None:
    toy = toy_benchmark()
    train = tuple(
        Annotation(video.id, tuple(c for c in video.labels if c != 5) or (0,))
        for video in toy.splits["train"]
    )
    benchmark = replace(toy, splits={**toy.splits, "train": train})
    assert benchmark.counts[5] == 0
    items = {}
    for number, split in enumerate(benchmark.splits):
        features = toy_features(benchmark.labels(split), number)
        items |= dict(zip(benchmark.ids(split), features, strict=True))
    write_features(tmp_path, benchmark, items)
    for preset in {"default": None, **find_method(name).presets}:
        request = Request(
            name, dataset="toy", aggregator="nonlinear", settings=SHORT, preset=preset
        )
        planned = plan_run(request, tmp_path)
        result = run(planned, CPU)
        assert result.test.overall > 0
        assert np.isfinite(load_scores(planned.folder)[1]).all()
