"""Videos without any class: every method learns from them as negatives, or never draws them."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from meid_bench.methods.contract import Subject
from meid_bench.methods.frame_draws import pairs
from meid_bench.methods.method import Batch
from meid_bench.methods.presets import preset_settings
from meid_bench.methods.registry import find_method
from meid_bench.methods.samplers import EpochSampler
from meid_bench.methods.trainable import select_trainable, training_mode
from meid_bench.results.metrics import evaluate_scores
from tests.methods.test_contract import METHODS
from tests.toy import BINS, toy_features, toy_labels

VIDEOS, BARE = 48, slice(0, 48, 3)


def with_negatives() -> tuple[NDArray[np.uint8], Tensor]:
    labels = toy_labels(VIDEOS, seed=1)
    labels[BARE] = 0
    return labels, torch.from_numpy(toy_features(labels, seed=1)).float()


CASES = [
    (name, preset)
    for name in METHODS
    for preset in (None, *sorted({*find_method(name).presets} - {"default"}))
    if preset is None or "method" not in find_method(name).presets[preset]
]


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_every_method_learns_where_a_third_has_no_class(name: str, preset: str | None) -> None:
    labels, features = with_negatives()
    subject = Subject(find_method(name), "nonlinear")
    method = subject.build(preset_settings(subject.kind, "nonlinear", preset).method)
    for number, stage in enumerate(method.stages()):
        method.begin_stage(stage)
        trained = select_trainable(method, stage)
        draws = EpochSampler(labels, stage.sampler).draw(0, number, 0)
        if draws.picked is not None:
            assert labels[draws.index, draws.picked].all()  # so never a video without a class
        index = torch.from_numpy(draws.index)
        picked = None if draws.picked is None else torch.from_numpy(draws.picked)
        rows = torch.from_numpy(labels)[index].float()
        batch = Batch(features[index], rows, picked, torch.Generator())
        for epoch in (0, 1, 60):  # from when on methods stack, and weigh anew
            training_mode(method)
            loss = method.loss(batch, stage, epoch)
            loss.backward()  # type: ignore[no-untyped-call]
            assert loss.item() > 0 and np.isfinite(loss.item())
            assert all(p.grad is None or p.grad.isfinite().all() for p in trained)
            method.end_epoch(stage, epoch, torch.rand(labels.shape[1]))


@pytest.mark.parametrize("over", ["positives", "classes"])
def test_framestack_takes_half_of_a_video_without_a_class(over: str) -> None:
    labels, features = with_negatives()
    rows = torch.from_numpy(labels).float()
    batch = Batch(features, rows, None, torch.Generator().manual_seed(0))
    partner, share = pairs(batch, torch.full((labels.shape[1],), 0.5), 1.0, over)  # type: ignore[arg-type]
    bare = (rows.sum(1) == 0) | (partner.labels.sum(1) == 0)
    assert (share[bare] == 0.5).all() and bare.any() and not bare.all()


def test_they_are_negatives_of_the_mean_ap_and_in_no_accuracy() -> None:
    labels, _ = with_negatives()
    groups = BINS.groups(labels.sum(0).astype(np.int64))
    scores = np.random.default_rng(0).random(labels.shape)
    found = evaluate_scores(scores, labels, groups)
    kept = labels.any(axis=1)
    without = evaluate_scores(scores[kept], labels[kept], groups)
    assert found.overall < without.overall
    assert (found.acc1, found.acc5) == (without.acc1, without.acc5)
