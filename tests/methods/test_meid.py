"""MEID as a method: its losses (equations 13 and 14), its stages, and what it says of itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from meid.distillation import Necks
from meid.experts import SecondExpert
from meid.method import MEID, MEIDConfig
from meid_bench.device import choose_device
from meid_bench.errors import SettingError
from meid_bench.methods.aggregators import NonlinearConfig, aggregator_maker
from meid_bench.methods.contract import step_losses
from meid_bench.methods.method import Stage
from meid_bench.results.record import StageResult, read_curve
from meid_bench.training.diagnostics import alarms, setback
from meid_bench.training.request import Request, plan_run
from meid_bench.training.run import run
from tests.small_methods import in_stage, small_batch, toy_method
from tests.toy import CLASSES, FRAMES, TASK, write_toy


def build(**settings: Any) -> MEID:
    method = toy_method("meid", "nonlinear", settings, dropout=0.0)
    assert isinstance(method, MEID)
    return method


def focal(logits: Tensor, labels: Tensor, gamma: float = 1.0) -> Any:
    """Focal loss, (B, C), with numpy."""
    p = 1 / (1 + np.exp(-logits.detach().double().numpy()))
    p_t = np.where(labels.numpy() == 1, p, 1 - p)
    return -((1 - p_t) ** gamma) * np.log(p_t)


def distance(logits: Tensor, necks: Necks) -> Any:
    """Equations 5 to 7 with numpy, the norm over the number of classes."""
    y, groups = logits.detach().double().numpy(), TASK.groups
    variances = []
    for layer, group in ((necks.head, "head"), (necks.tail, "tail")):
        masked = np.where(np.isin(np.arange(CLASSES), groups[group]), y, 0)
        embedding = masked @ layer.weight.detach().double().numpy().T
        variances.append((embedding + layer.bias.detach().double().numpy()).var(0))
    return np.linalg.norm(variances[0] - variances[1]) / CLASSES


def test_equation_13() -> None:
    method, some = build(lambda1=0.1), small_batch()
    stage = in_stage(method, 0)
    logits = method.first(some.features)[0]
    expected = focal(logits, some.labels).mean() + 0.1 * distance(logits, method.first_necks)
    assert method.loss(some, stage, 0).item() == pytest.approx(expected, rel=1e-5)


def test_equation_14() -> None:
    method, some = build(lambda2=0.3), small_batch()
    stage = in_stage(method, 1)
    first, attention = method.first(some.features)
    assert method.second is not None and method.second_necks is not None
    second = method.second(some.features, attention)
    # The distillation is on the second expert's logits, the classification on the sum.
    expected = focal(first + second, some.labels).mean()
    expected += 0.3 * distance(second, method.second_necks)
    assert method.loss(some, stage, 0).item() == pytest.approx(expected, rel=1e-5)


def test_the_classification_loss_sums_or_masks_where_asked() -> None:
    some = small_batch(picked=True)
    assert some.picked is not None
    for settings in ({"reduction": "sum"}, {"mask_other_positives": True}, {"gamma": 2.0}):
        method = build(lambda2=0.0, **settings)
        stage = in_stage(method, 1)
        values = focal(method(some.features), some.labels, settings.get("gamma", 1.0))  # type: ignore[arg-type]
        if "mask_other_positives" in settings:
            values = values * (1 - (some.labels.numpy() - np.eye(CLASSES)[some.picked.numpy()]))
        expected = values.sum(1).mean() if "reduction" in settings else values.mean()
        assert method.loss(some, stage, 0).item() == pytest.approx(expected, rel=1e-5)


def test_prediction_is_the_sum_of_both_experts_from_the_second_stage_on() -> None:
    method, some = build(), small_batch()
    in_stage(method, 0)
    first, attention = method.first(some.features)
    assert torch.equal(method(some.features), first)
    in_stage(method, 1)
    assert method.second is not None
    expected = first + method.second(some.features, attention)
    torch.testing.assert_close(method(some.features), expected)


def test_the_stages_are_the_papers() -> None:
    first = Stage("first expert", 100, 1e-3, (30, 60), "uniform")
    second = Stage("second expert", 100, 1e-4, (30, 60), "class_balanced")
    assert list(build().stages()) == [first, second]
    assert list(build(second="none").stages()) == [first]


@pytest.mark.parametrize("aggregator", ["nonlinear", "netvlad", "nextvlad"])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_the_first_expert_does_not_change_in_the_second_stage(aggregator: str, norm: str) -> None:
    """No gradient, no dropout, not even running statistics."""
    method = toy_method("meid", aggregator, {"norm": norm})
    assert isinstance(method, MEID)
    some = small_batch()
    step_losses(method, in_stage(method, 0), some)
    frozen = {"first": method.first.state_dict(), "necks": method.first_necks.state_dict()}
    before = {k: {n: v.clone() for n, v in state.items()} for k, state in frozen.items()}
    method.zero_grad(set_to_none=True)
    step_losses(method, in_stage(method, 1), some)
    after = {"first": method.first.state_dict(), "necks": method.first_necks.state_dict()}
    for part, state in before.items():
        for name, value in state.items():
            assert torch.equal(after[part][name], value), (part, name)
    assert all(p.grad is None for p in method.first.parameters())
    assert not any(module.training for module in method.first.modules())


def test_the_second_expert_does_not_train_in_the_first_stage() -> None:
    method, some = build(), small_batch()
    stage = in_stage(method, 0)
    method.loss(some, stage, 0).backward()  # type: ignore[no-untyped-call]
    assert method.second is not None
    assert all(parameter.grad is None for parameter in method.second.parameters())


ABLATIONS: dict[str, dict[str, Any]] = {
    "without attention": {"attention": "none"},
    "without distillation": {"lambda1": 0.0, "lambda2": 0.0},
    "E1 alone": {"second": "none"},
    "E1+E1": {"second": "e1"},
    "without selection": {"selection": "none"},
    "A instead of R": {"selection": "attention"},
    "without motion": {"motion": False},
    "without class-balanced sampling": {"sampler2": "uniform"},
    "beta 0.3": {"beta": 0.3},
    "sigmoid": {"attention": "sigmoid"},
    "plain softmax": {"attention": "softmax"},
    "attention on X": {"attention_on": "features", "norm": "none"},
    "BatchNorm": {"norm": "batch"},
    "no norm": {"norm": "none"},
    "a neck per group": {"neck": "group"},
    "variance over classes": {"variance": "classes"},
    "the norm as printed": {"distance": "norm"},
    "embeddings of length 1": {"distance": "unit"},
    "sum over classes": {"reduction": "sum"},
    "focal gamma 2": {"gamma": 2.0},
    "masked": {"mask_other_positives": True},
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_and_reading_is_a_setting_that_trains(name: str) -> None:
    method, some = build(**ABLATIONS[name]), small_batch(picked=True)
    for number in range(len(method.stages())):
        stage = in_stage(method, number)
        losses = step_losses(method, stage, some)
        assert losses[-1] < losses[0], stage.name
        values = method.diagnostics(some, stage)
        assert all(np.isfinite(value) for value in values.values())


@pytest.mark.parametrize("second", ["e1", "e2"])
@pytest.mark.parametrize("sampler", ["uniform", "class_balanced", "square_root"])
def test_the_second_stage_draws_as_its_setting_says(second: str, sampler: str) -> None:
    """A second first expert drew uniformly, whatever the record said."""
    stages = build(second=second, sampler2=sampler).stages()
    assert [stage.sampler for stage in stages] == ["uniform", sampler]


def test_the_second_e1_has_its_own_attention_that_trains() -> None:
    method, some = build(second="e1"), small_batch()
    stage = in_stage(method, 1)
    method.loss(some, stage, 0).backward()  # type: ignore[no-untyped-call]
    assert method.second is not None
    grads = [p.grad for p in method.second.attention.parameters()]  # type: ignore[union-attr]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)
    assert all(p.grad is None for p in method.first.attention.parameters())


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("videos", [1, 2])
def test_no_nan_at_one_video_and_in_bfloat16(number: int, videos: int) -> None:
    for settings in ({}, {"variance": "classes"}, {"attention": "sigmoid"}, {"gamma": 0.5}):
        method, some = build(**settings), small_batch(videos)
        stage = in_stage(method, number)
        with torch.autocast("cpu", torch.bfloat16):
            loss = method.loss(some, stage, 0)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.isfinite()
        for name, parameter in method.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_no_nan_when_all_logits_are_alike() -> None:
    """Distance zero: every video the same, so that all variances are 0."""
    method, some = build(), small_batch()
    some.features = some.features[:1].expand(12, FRAMES, -1).clone()
    stage = in_stage(method, 0)
    method.loss(some, stage, 0).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad.isfinite().all() for p in method.first.parameters() if p.grad is not None)


def test_explain_gives_a_and_r_and_each_experts_logits() -> None:
    method, some = build(), small_batch()
    in_stage(method, 0)
    assert set(method.explain(some.features)) == {"A", "expert1"}
    in_stage(method, 1)
    parts = method.explain(some.features)
    torch.testing.assert_close(parts["R"], 1 / (parts["A"] + 0.5))
    torch.testing.assert_close(parts["expert1"] + parts["expert2"], method(some.features))


def test_diagnostics_against_their_definition() -> None:
    method, some = build(), small_batch()
    for number in (0, 1):
        stage = in_stage(method, number)
        step_losses(method, stage, some)
    values = method.diagnostics(some, stage)
    parts = method.explain(some.features)
    assert values["attention_std"] == pytest.approx(
        parts["A"].detach().numpy().std(axis=1).mean(), rel=1e-5
    )
    sizes = [parts[name].square().mean().sqrt().item() for name in ("expert2", "expert1")]
    assert values["second_expert_share"] == pytest.approx(sizes[0] / sizes[1], rel=1e-5)
    logits = parts["expert2"].detach().requires_grad_()
    assert method.second_necks is not None
    head, tail = method.second_necks(logits)
    loss = 0.1 * (head.var(0, correction=0) - tail.var(0, correction=0)).norm() / CLASSES
    of_distillation = torch.autograd.grad(loss, logits)[0].norm().item()
    bce = torch.nn.functional.binary_cross_entropy_with_logits(
        logits + parts["expert1"].detach(), some.labels, reduction="none"
    )
    loss = ((1 - torch.exp(-bce)) * bce).mean()
    of_classification = torch.autograd.grad(loss, logits)[0].norm().item()
    expected = of_distillation / (of_distillation + of_classification)
    assert values["distillation_share"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("spoil", "settings", "sentence"),
    [
        ("attention", {}, "the attention is almost the same for all frames"),
        ("second", {}, "the second expert adds almost nothing"),
        ("", {"lambda2": 1e5}, "the distillation swamps the gradient"),
    ],
)
def test_what_fails_silently_is_warned_of(
    spoil: str, settings: dict[str, float], sentence: str
) -> None:
    method, some = build(**settings), small_batch()
    if spoil == "attention":
        method.first.attention.score.weight.data.zero_()
    elif spoil == "second":
        assert method.second is not None
        for parameter in method.second.aggregator.parameters():  # type: ignore[union-attr]
            parameter.data.zero_()
    stage = in_stage(method, 1)
    raised = alarms(method, stage, method.diagnostics(some, stage))
    assert any(sentence in warning for warning in raised), raised


def test_a_healthy_method_raises_no_alarm() -> None:
    method, some = build(), small_batch()
    step_losses(method, in_stage(method, 0), some)
    stage = in_stage(method, 1)
    step_losses(method, stage, some)
    assert alarms(method, stage, method.diagnostics(some, stage)) == []


def test_diagnostics_are_logged_each_epoch_and_warnings_recorded(tmp_path: Path) -> None:
    write_toy(tmp_path)
    settings = {"epochs": "2", "milestones": "1", "batch": "16", "lambda1": "100000"}
    request = Request("meid", dataset="toy", aggregator="nonlinear", settings=settings)
    planned = plan_run(request, tmp_path)
    result = run(planned, choose_device(None, "cpu"))
    curve = read_curve(planned.folder)
    assert len(curve) == 4
    assert all({"attention_std", "distillation_share"} <= set(p.diagnostics) for p in curve)
    assert all("second_expert_share" in point.diagnostics for point in curve[2:])
    assert any("swamps the gradient" in warning for warning in result.warnings)


def test_a_second_stage_that_makes_it_worse_is_warned_of() -> None:
    stages = [StageResult("first expert", 9, 3, 0.8), StageResult("second expert", 9, 2, 0.3)]
    (sentence,) = setback(stages)
    assert "'second expert' never came up to the one before it: best val mAP 0.300" in sentence
    assert setback(stages[::-1]) == setback(stages[:1]) == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"beta": 1.0}, r"beta is 1.0; it must be between 0 and 1 \(eq. 8\)"),
        ({"lambda1": -0.1}, "lambda1 is -0.1; it must be at least 0"),
        ({"lr2": 0.0}, "lr2 is 0.0"),
        ({"attention_width": 0}, "attention_width is 0"),
        ({"gamma": float("nan")}, "gamma is nan"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        replace(MEIDConfig(), **settings)


def test_attention_on_features_with_layer_norm_is_warned_of_and_does_nothing() -> None:
    """LayerNorm cancels a frame's weight up to its epsilon; without it the weight counts."""
    moved = {}
    for norm in ("layer", "none"):
        if norm == "layer":
            with pytest.warns(UserWarning, match="LayerNorm takes the weights out again"):
                method = build(attention_on="features", norm=norm)
        else:
            method = build(attention_on="features", norm=norm)
        x = small_batch().features
        before = method(x)
        method.first.attention.kind = "none"
        moved[norm] = (method(x) - before).abs().max().item()
    assert moved["layer"] < 1e-3 < moved["none"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"second": "e1", "beta": "0.3"}, "beta"),
        ({"second": "none", "lr2": "0.001"}, "lr2"),
        ({"attention": "none", "attention_width": "8"}, "attention_width"),
        ({"selection": "none", "beta": "0.3"}, "beta"),
        ({"sampler2": "uniform", "mask_other_positives": "true"}, "mask_other_positives"),
        ({"lambda1": "0", "lambda2": "0", "distance": "norm"}, "distance"),
    ],
)
def test_a_setting_that_changes_nothing_is_refused_and_otherwise_not_recorded(
    settings: dict[str, str], name: str, tmp_path: Path
) -> None:
    write_toy(tmp_path)
    request = Request("meid", dataset="toy", aggregator="nonlinear", settings=settings)
    with pytest.raises(SettingError, match=f"Setting {name}=.* would change nothing, because"):
        plan_run(request, tmp_path)
    rest = {key: value for key, value in settings.items() if key != name}
    planned = plan_run(replace(request, settings=rest), tmp_path)
    assert name not in planned.settings
    assert "lambda1" in planned.settings


def test_an_idle_setting_of_a_preset_is_left_out_and_not_refused(tmp_path: Path) -> None:
    write_toy(tmp_path)
    settings = {"sampler2": "uniform"}
    request = Request("meid", "toy", "nonlinear", preset="videolt", settings=settings)
    assert "mask_other_positives" not in plan_run(request, tmp_path).settings


def test_a_video_that_is_a_single_vector_trains_without_attention_and_motion() -> None:
    """No frames to weigh, nothing that moves: and nothing to warn of."""
    task = replace(TASK, frames=1)
    make = aggregator_maker("nonlinear", NonlinearConfig(dropout=0.0), 1)
    torch.manual_seed(0)
    method = MEID(task, MEIDConfig(), make)
    some = small_batch()
    some.features = some.features.mean(1, keepdim=True)
    assert not list(method.first.attention.parameters())
    for number in (0, 1):
        stage = in_stage(method, number)
        losses = step_losses(method, stage, some)
        assert losses[-1] < losses[0]
        assert "attention_std" not in method.diagnostics(some, stage)
    second = method.second
    assert isinstance(second, SecondExpert)
    assert second.motion_embedding is None and second.selection == "none"
    idle = MEIDConfig().idle(task)
    assert {"attention", "attention_width", "selection", "motion", "beta"} <= set(idle)
