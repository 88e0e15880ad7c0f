"""cRT: parity with its authors' second stage, and a last layer that is new once and for all."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.crt import CRT, CRTConfig, with_fresh_weights
from meid_bench.errors import SettingError
from meid_bench.methods.aggregators import NetVLADConfig, aggregator_maker
from meid_bench.methods.contract import step_losses, toy_batch
from meid_bench.methods.method import Batch, Stage, Task
from meid_bench.methods.settings import changed
from meid_bench.methods.trainable import select_trainable, training_mode
from tests.methods.closed_form import fill, some_labels, wave
from tests.small_methods import toy_method

SIX = Batch(wave(6, 5, 8), some_labels(6, 4), None, torch.Generator())


def golden_method(rest: str) -> tuple[CRT, Stage]:
    task = Task(8, (3, 2, 2, 1), {"head": (0,), "medium": (1, 2), "tail": (3,)}, 5, 6)
    make = aggregator_maker("netvlad", NetVLADConfig(clusters=4, hidden=6), 5)
    method = CRT(task, CRTConfig(rest=rest), make)  # type: ignore[arg-type]
    fill(method)
    stage = method.stages()[1]
    method.begin_stage(stage)
    return method, stage


def close(found: Tensor, expected: list[Any]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("rest", "losses", "bias", "weights"),
    [
        (
            "moving",
            [0.8151707649, 0.7963280082, 0.7619027495],
            [0.2166048735, 0.1209008172, 0.0931695126, -0.1150663868],
            [0.308737725, 0.0158732813, -0.1906777173, -0.2403929234, -0.2172880471, -0.1323968619],
        ),
        (
            "still",
            [0.8254442215, 0.8129289746, 0.7900717855],
            [0.201638639, 0.10895022, 0.0835291594, -0.1240453348],
            [0.2283384354, 0.0444529802, -0.1738838553, -0.2812600732, -0.2704949975, -0.09082105],
        ),
    ],
)
def test_three_steps_of_the_authors_second_stage(
    rest: str, losses: list[float], bias: list[float], weights: list[float]
) -> None:
    """Numbers of classifier-balancing at f162ade: init_models, batch_forward, _loss, _backward.

    Patched: `.cuda` and DataParallel do nothing, the loss is torch's BCEWithLogitsLoss, the feature
    model is our NetVLAD up to its last layer; for "still" the networks are put into eval mode,
    which that code never does in training.
    """
    method, stage = golden_method(rest)
    parameters = select_trainable(method, stage)
    training_mode(method)
    optimiser = torch.optim.SGD(parameters, lr=0.2, momentum=0.9, weight_decay=5e-4)
    for expected in losses:
        loss = method.loss(SIX, stage, 0)
        assert loss.item() == pytest.approx(expected, abs=1e-5)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    classifier = dict(method.classifier.named_parameters())
    close(classifier["bias"], bias)
    close(classifier["weight"][0], weights)
    if rest == "moving":
        mean = [
            -0.02458027,
            -0.2248384953,
            -0.1946175694,
            -0.0845949128,
            0.1135999337,
            0.1945389211,
        ]
        close(method.aggregator.hidden_norm.running_mean, mean)  # type: ignore[union-attr,arg-type]
        first = [0.4042814970, 0.3352924287, 0.1936535537, 0.1282424629]
        close(method.eval()(SIX.features)[0], first)


@pytest.mark.parametrize("aggregator", ["nonlinear", "netvlad", "nextvlad"])
def test_the_new_last_layer_is_drawn_once_and_learns_in_its_own_stage_alone(
    aggregator: str,
) -> None:
    method = toy_method("crt", aggregator, {})
    assert isinstance(method, CRT)
    network, classifier = method.stages()
    drawn = {name: value.clone() for name, value in method.classifier.state_dict().items()}
    first = method.aggregator.output.state_dict()
    assert not torch.equal(drawn["weight"], first["weight"])
    method.begin_stage(network)
    step_losses(method, network, toy_batch(network, 0))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    for _ in range(2):  # taking a stage up again, as a resumed run does, changes nothing
        method.begin_stage(classifier)
        for name, value in method.state_dict().items():
            assert torch.equal(value, before[name]), name
    for name, value in drawn.items():
        assert torch.equal(method.classifier.state_dict()[name], value)
    step_losses(method, classifier, toy_batch(classifier, 1))
    moved = {n for n, value in method.state_dict().items() if not torch.equal(value, before[n])}
    assert moved == {"classifier.weight", "classifier.bias"}


def test_the_first_stage_is_plain() -> None:
    losses = []
    for name in ("plain", "crt"):
        method = toy_method(name, "nonlinear", {})
        stage = method.stages()[0]
        losses.append(step_losses(method, stage, toy_batch(stage, 0)))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_the_rest_is_still_moves_or_learns() -> None:
    """Which of the network's tensors the second stage changes: none, statistics, all but one."""
    for rest, some in {"still": (), "moving": ("norm.running",), "trained": ("",)}.items():
        method = toy_method("crt", "netvlad", {"rest": rest})
        stage = method.stages()[1]
        method.begin_stage(stage)
        before = {name: value.clone() for name, value in method.state_dict().items()}
        step_losses(method, stage, toy_batch(stage, 1))
        for name, value in method.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                kept = name.startswith("aggregator.output") or not any(s in name for s in some)
                expected = name.startswith("classifier") or not kept
                assert torch.equal(value, before[name]) != expected, (rest, name)


def test_stages_and_samplers() -> None:
    first, second = toy_method("crt", "nonlinear", {}).stages()
    assert (first.epochs, first.sampler) == (100, "uniform")
    assert (second.epochs, second.milestones, second.sampler) == (10, (3, 6), "class_balanced")


def test_fresh_weights_of_a_layer_of_several() -> None:
    layers = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    fresh = with_fresh_weights(layers)
    for old, new in zip(layers.parameters(), fresh.parameters(), strict=True):
        assert old.shape == new.shape and not torch.equal(old, new)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs2": 0}, "epochs2 is 0"),
        ({"lr2": 1.0}, "lr2 is 1.0"),
        ({"milestones2": (6, 3)}, "milestones2 is .6, 3.; it must be in ascending order"),
        ({"rest": "asleep"}, "rest"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        changed(CRTConfig(), settings)
