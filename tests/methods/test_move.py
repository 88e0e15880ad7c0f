"""MOVE: parity with its authors' modules on given draws, and the draws themselves."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines import move
from baselines.move import MOVE, MOVEConfig, frequency, least_frames
from meid_bench.errors import SettingError
from meid_bench.methods.aggregators import NonlinearConfig, aggregator_maker
from meid_bench.methods.contract import toy_batch
from meid_bench.methods.method import Batch, Task
from meid_bench.methods.settings import changed
from meid_bench.training.request import Request, plan_run
from tests.methods.closed_form import fill, some_labels, wave
from tests.small_methods import toy_method

T, COUNTS = 60, (60, 21, 9, 4, 0)
LABELS = some_labels(4, 5)
LABELS[1, [1, 2]] = LABELS[3, 4] = 1  # that code fails on a video without labels
LEAST = [32, 15, 9, 22]


def some_method(frames: int = T, counts: tuple[int, ...] = COUNTS, **settings: Any) -> MOVE:
    task = Task(6, counts, {"head": (0,), "medium": (1, 2), "tail": (3, 4)}, frames, 4)
    make = aggregator_maker("nonlinear", NonlinearConfig(), frames)
    return MOVE(task, changed(MOVEConfig(), settings), make)


def golden_method(**settings: Any) -> MOVE:
    method = some_method(**settings)
    fill(method)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            parameter.mul_(1.0 if "norm" in name else 0.2)
    return method


def golden_selections() -> Tensor:
    """What the patched draws gave, call by call: NetVLAD's two of each video, then three each."""
    drawn = torch.zeros(4, 5, T, dtype=torch.bool)
    calls = [(video, view) for video in range(4) for view in (3, 4)]
    calls += [(video, view) for video in range(4) for view in (0, 1, 2)]
    for call, (video, view) in enumerate(calls):
        count = LEAST[video] + 7 * call % (T - LEAST[video] + 1)
        drawn[video, view, [(11 * call + 7 * place) % T for place in range(count)]] = True
    return drawn


@dataclass
class Drawn(Batch):
    """A batch whose partners are given."""

    def shuffled(self, count: int | None = None) -> Batch:
        order = torch.tensor([2, 0, 3, 1])
        return Batch(self.features[order], self.labels[order], None, self.generator)


def close(found: Tensor, expected: object, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found.detach(), torch.tensor(expected), rtol=1e-5, atol=atol)


def norm(parameter: Tensor) -> float:
    assert parameter.grad is not None
    return parameter.grad.norm().item()


def test_parity_with_the_authors_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of wjun0830/MOVE at 7928daa: models.py, Augment.py, BCELoss and MOVE.py's own lines.

    Patched: `.cuda` does nothing, dropout is 0, `random.randint` and `sample`, `np.random.beta`
    (0.4 of 2, 2 and 0.3 of 1, 1) and `torch.randperm` give what stands here. T is 60, as its mask.
    """
    method = golden_method(input_scale=False)
    drawn = golden_selections()
    monkeypatch.setattr(MOVE, "draw", lambda self, batch: drawn)
    given = {3: torch.tensor([0.1, 0.9, 0.4]), 1: torch.tensor([0.3])}
    monkeypatch.setattr(move, "uniforms", lambda batch, count: given[count])
    for module in method.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    x = wave(4, T, 6)
    state = {name: value.clone() for name, value in method.state_dict().items()}
    vectors = method.two_vectors(x, drawn)
    close(vectors[0, 0, :7], [-1.3045, -0.0226488, -0.6945337, -0.238712, 0.6050113, 1.4918715,
                              0.6324261])  # fmt: skip
    close(vectors[2, 1, [0, 5, 6, 7, 900]], [0.6336597, 0.0673289, 0.4396794, 1.3995074, 0.0])
    # Video 1 hides all its keys from its queries.
    close(vectors[1, 1, [0, 5, 6, 7, 900]], [-1.3040282, 1.2624227, 0.0, 0.0, 0.851889])
    method.load_state_dict(state)
    loss = method.loss(Drawn(x, LABELS, None, torch.Generator()), method.stages()[0], 0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0.6860812902, abs=1e-5)
    vlad, attention = method.vlad.vlad, method.attention
    # In double precision the gradients agree to 1e-8; in single, a ReLU at 0 falls either way.
    assert norm(vlad.gate) == pytest.approx(0.0547607038, rel=1e-2)
    assert norm(vlad.hidden.weight) == pytest.approx(2.5921998614, rel=1e-2)
    assert norm(attention.key.weight) == pytest.approx(1.15970741e-4, rel=1e-2)
    assert norm(attention.value.weight) == pytest.approx(0.0674740896, rel=1e-2)
    assert norm(method.classifier.hidden.weight) == pytest.approx(2.1666269014, rel=1e-2)
    running = vlad.assign_norm.running_mean
    assert running is not None
    close(running[:4], [0.1135477, 0.2458325, 0.2564307, 0.1269588])
    variance = [0.6226246, 0.9937819, 1.370491, 1.28374, 0.7349436, 0.9674677]
    close(vlad.input_norm.running_var, variance)  # type: ignore[arg-type]
    logits = [
        [-2.2230482, -0.0989768, -0.0298423, -0.4110803, -0.3584919],
        [-2.4070346, -0.1073316, -0.0874428, -0.3988183, -0.5397177],
        [-2.0825062, 0.3112291, 0.2038259, -0.2771447, -0.55213],
        [-2.1109586, 0.1442162, 0.2234717, -0.4031186, -0.3921703],
    ]
    close(method.eval()(x), logits)


def test_the_first_norm_learns_by_default() -> None:
    """In that code it has a scale and a shift whose gradient is None."""
    method = some_method(8)
    batch = Batch(wave(4, 8, 6), LABELS, None, torch.Generator())
    method.loss(batch, method.stages()[0], 0).backward()  # type: ignore[no-untyped-call]
    assert norm(method.vlad.vlad.input_norm.weight) > 0  # type: ignore[arg-type]
    assert MOVE.presets["videolt"] == {"input_scale": False}


def test_least_frames_are_load_datas() -> None:
    bounds = (frequency(COUNTS) * T).clamp_min(3.0)
    assert bounds.tolist() == pytest.approx([60, 21, 9, 4, 3])
    assert least_frames(LABELS, bounds, T).tolist() == LEAST
    none = least_frames(torch.zeros(1, 5), bounds, T)
    assert none.tolist() == [3]  # without labels: as the rarest
    assert least_frames(LABELS, bounds, 2).tolist() == [2, 2, 2, 2]
    assert frequency((7, 7)).tolist() == frequency((0, 0)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("frames", [1, 2, 8])
def test_selections_have_between_the_least_and_all_frames(frames: int) -> None:
    """Each number as often as the others, and each frame; fewer frames than 3 show all."""
    method = some_method(frames)
    labels = torch.zeros(4000, 5)
    labels[:, 4] = 1  # the rarest class: 3 to T
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.zeros(4000, frames, 6), labels, None, generator)
    drawn = method.draw(batch)
    assert drawn.shape == (4000, 5, frames)
    counts, least = drawn.sum(2), min(3, frames)
    assert counts.min() == least and counts.max() == frames
    share = torch.bincount(counts.flatten())[least:] / counts.numel()
    choices = frames - least + 1
    # Five standard deviations of a share of 20,000 draws.
    assert share.tolist() == pytest.approx([1 / choices] * choices, abs=0.018)
    of_frame = drawn.float().mean((0, 1)) * frames / counts.float().mean()
    assert of_frame.tolist() == pytest.approx([1.0] * frames, abs=0.04)
    assert frames < 8 or not torch.equal(drawn[:, 0], drawn[:, 1])


def test_uniforms_make_a_beta_of_two_and_two() -> None:
    batch = Batch(torch.zeros(1, 1, 1), torch.zeros(1, 1), None, torch.Generator().manual_seed(0))
    drawn = torch.stack([move.uniforms(batch, 3).median() for _ in range(4000)])
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.02)
    assert drawn.var().item() == pytest.approx(1 / 20, abs=0.005)


@pytest.mark.parametrize(("frames", "counts"), [(1, COUNTS), (2, COUNTS), (8, (3, 3, 3, 3, 3))])
def test_few_frames_and_classes_of_one_size_give_finite_numbers(
    frames: int, counts: tuple[int, ...]
) -> None:
    method = some_method(frames, counts)
    labels = LABELS.clone()
    labels[0] = 0  # and a video without labels
    batch = Batch(wave(4, frames, 6), labels, None, torch.Generator().manual_seed(1))
    loss = method.loss(batch, method.stages()[0], 0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_weights_over_frames_and_hidden_keys() -> None:
    method = golden_method()
    x = 20 * wave(4, T, 6)
    weights = method.explain(x)["attention"]
    assert weights.shape == (4, T) and weights.std() > 1e-4
    close(weights.sum(1), [1.0] * 4)
    hidden = torch.arange(T).expand(4, T) > 0
    hidden[3] = True
    found = method.attention.weights(x, x[:, :2], hidden)
    assert (found[:3, ..., 0] == 1).all()
    close(found[3].std(), 0.0)  # where all are hidden, all weigh alike


def test_its_own_network_leaves_the_aggregator_idle(toy_root: Path) -> None:
    request = Request("move", dataset="toy", aggregator="netvlad", settings={"batch": "16"})
    assert not [name for name in plan_run(request, toy_root).settings if "aggregator" in name]
    chosen = replace(request, settings={"batch": "16", "aggregator.clusters": "8"})
    with pytest.raises(SettingError, match=r"clusters=8 would .* because move has its own network"):
        plan_run(chosen, toy_root)
    with pytest.raises(SettingError, match=r"--network e1 would .* because move has its own"):
        plan_run(replace(request, network="e1"), toy_root)
    sizes = {
        sum(parameter.numel() for parameter in toy_method("move", name, {}).parameters())
        for name in ("nonlinear", "netvlad", "nextvlad")
    }
    assert len(sizes) == 1


def test_loss_of_a_seed_is_one_number() -> None:
    method = toy_method("move", "nonlinear", {}).eval()
    stage = method.stages()[0]
    losses = []
    for seed in (0, 0, 1):
        batch = toy_batch(stage, 0)
        batch.generator.manual_seed(seed)
        losses.append(method.loss(batch, stage, 0).item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"least_frames": 0.5}, "least_frames is 0.5"), ({"raised": -1.0}, "raised is -1.0")],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        changed(MOVEConfig(), settings)
