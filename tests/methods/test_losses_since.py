"""Losses since MEID: what must hold beyond their authors' numbers, and what is refused."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from baselines.asl import ASLConfig, asymmetric_loss
from baselines.dbloss import DBLossConfig, rebalancing_weights
from baselines.eqlv2 import EQLv2
from baselines.twoway import TwoWay, TwoWayConfig, two_way_loss
from meid_bench.errors import MethodError, SettingError
from meid_bench.methods.losses import log_odds
from meid_bench.methods.method import SEARCHED, Batch, Method, Stage, Task, searched
from meid_bench.methods.registry import find_method, registered
from meid_bench.methods.settings import changed
from meid_bench.methods.toy_task import toy_features, toy_labels
from tests.methods.test_losses_golden import Shown, labels, logits, loss_of
from tests.small_methods import toy_method
from tests.toy import CLASSES

LOSSES = ["apl", "asl", "dbloss", "eqlv2", "logitadjust", "ral", "twoway"]
STAGE = Stage("train", 1, 0.1)


def batch(videos: int = 12) -> Batch:
    y = toy_labels(videos, 1)
    return Batch(
        torch.from_numpy(toy_features(y, 1)).float(),
        torch.from_numpy(y).float(),
        None,
        torch.Generator(),
    )


def gradient_of(method: Method, some: Batch) -> Tensor:
    method.zero_grad()
    method.loss(some, STAGE, 0).backward()  # type: ignore[no-untyped-call]
    found = [p.grad.flatten() for p in method.parameters() if p.grad is not None]
    return torch.cat(found)


@pytest.mark.parametrize("name", LOSSES)
def test_no_label_at_all_gives_no_nan(name: str) -> None:
    method, some = toy_method(name, "nonlinear", {}), batch()
    some.labels[:3] = 0
    assert gradient_of(method, some).isfinite().all()
    some.labels[:] = 0
    assert method.loss(some, STAGE, 0).isfinite()
    assert gradient_of(method, some).isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_labels_of_every_class_give_no_nan(name: str) -> None:
    method, some = toy_method(name, "nonlinear", {}), batch()
    some.labels[:] = 1
    assert method.loss(some, STAGE, 0).isfinite()
    assert gradient_of(method, some).isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("height", [1e2, 1e4])
def test_logits_far_apart_give_no_nan(name: str, height: float) -> None:
    z = (height * logits().detach()).requires_grad_()
    value = loss_of(find_method(name), {}, z, labels())
    value.backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    assert value.isfinite() and z.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_float32_whatever_the_network_gives(name: str) -> None:
    """A network that ends in bfloat16, under autocast, and the same logits in float32."""
    kind = find_method(name)
    z = logits().detach()[:, None].to(torch.bfloat16)
    task = Task(5, (40, 30, 18, 6, 2), {"head": (0,), "medium": (1,), "tail": (2, 3, 4)}, 1, 60)
    found = []
    for given, enabled in ((z, True), (z.float(), False)):
        some = Batch(given, labels().float(), None, torch.Generator())
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(kind(task, kind.Config(), Shown).loss(some, STAGE, 0))
    assert found[0].dtype == torch.float32 and torch.equal(*found)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"twoway"}))
def test_a_label_in_between_takes_its_share(name: str) -> None:
    """A label of a half has the mean of the losses with 0 and with 1, of one video and class."""
    kind = find_method(name)
    task = Task(1, (30,), {"head": (0,), "medium": (), "tail": ()}, 1, 60)
    found = []
    for label in (0.0, 0.5, 1.0):
        some = Batch(torch.tensor([[[1.5]]]), torch.tensor([[label]]), None, torch.Generator())
        found.append(kind(task, kind.Config(), Shown).loss(some, STAGE, 0).item())
    if name == "dbloss":  # its focal term is of the mixed logit
        assert min(found[0], found[2]) < found[1] < max(found[0], found[2])
    else:
        assert found[1] == pytest.approx((found[0] + found[2]) / 2, rel=1e-6)


def test_the_two_way_loss_refuses_labels_in_between() -> None:
    soft = labels().clamp(0.1, 0.9)
    with pytest.raises(MethodError, match="given labels between 0 and 1; mix no videos with it"):
        loss_of(TwoWay, {}, logits(), soft)


def test_the_two_way_loss_by_hand() -> None:
    """Softplus of two logarithms of sums is the logarithm of 1 plus the product of the sums."""
    z, y = logits().detach(), labels()
    tp, tn = 4.0, 1.0
    means = []
    for rows, marks in ((z.T, y.T), (z, y)):
        terms = []
        for row, mark in zip(rows, marks, strict=True):
            low = (-row[mark == 1] / tp).exp().sum() ** tp
            high = (row[mark == 0] / tn).exp().sum() ** tn
            if (mark == 1).any():
                terms.append(torch.log1p(low * high))
        means.append(torch.stack(terms).mean())
    found = two_way_loss(z, y, TwoWayConfig())
    torch.testing.assert_close(found, means[0] + means[1], rtol=1e-9, atol=0)


def test_true_masks_hold_where_minus_100_does_not() -> None:
    """A negative at 250 beside a positive at 300: lowered by 100 the positive would stand out."""
    z = torch.tensor([[300.0, 250.0]])
    y = torch.tensor([[1.0, 0.0]])
    assert two_way_loss(z, y, TwoWayConfig()).item() == pytest.approx(0, abs=1e-6)


def test_the_balanced_preset_draws_class_balanced() -> None:
    (uniform,) = toy_method("twoway", "nonlinear", {}).stages()
    (balanced,) = toy_method("twoway", "nonlinear", TwoWay.presets["balanced"]).stages()
    assert (uniform.sampler, balanced.sampler) == ("uniform", "class_balanced")
    (db,) = toy_method("dbloss", "nonlinear", {}).stages()
    assert db.sampler == "class_balanced"


def test_logit_adjustment_is_in_training_alone() -> None:
    """Its network's logits are the aggregator's; only the loss sees the log-odds."""
    some = batch()
    found = {}
    for tau in (0.0, 1.0):
        method = toy_method("logitadjust", "nonlinear", {"tau": tau}).eval()
        found[tau] = method(some.features), method.loss(some, STAGE, 0).item()
        plain = toy_method("plain", "nonlinear", {}).eval()
    assert torch.equal(found[0.0][0], found[1.0][0])
    assert found[0.0][1] == plain.loss(some, STAGE, 0).item() != found[1.0][1]
    shifted = found[1.0][0] + log_odds(method.task.counts, method.task.videos)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(shifted, some.labels)
    assert found[1.0][1] == pytest.approx(expected.item(), rel=1e-6)


def test_log_odds_by_hand_and_at_the_ends() -> None:
    found = log_odds((30, 20, 60, 0), 60)
    expected = torch.tensor([0.5, 1 / 3, 59 / 60, 1 / 60]).logit()
    torch.testing.assert_close(found, expected)
    assert log_odds((1, 0), 1).tolist() == [0, 0]


def test_db_loss_weighs_a_video_by_how_else_it_could_have_been_drawn() -> None:
    """Classes of 10 and 40 videos: one with both labels is drawn 1/10 + 1/40 as often."""
    config = DBLossConfig()
    inverse = torch.tensor([1 / 10, 1 / 40])
    found = rebalancing_weights(torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]), inverse, config)
    r = torch.tensor([[0.8, 0.2], [4.0, 1.0], [float("inf")] * 2])
    torch.testing.assert_close(found, 0.1 + torch.sigmoid(10 * (r - 0.2)))


def test_asl_without_margin_and_focusing_is_cross_entropy() -> None:
    z, y = logits().detach(), labels()
    found = asymmetric_loss(z, y, changed(ASLConfig(), {"gamma_neg": 0.0, "margin": 0.0}))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")
    torch.testing.assert_close(found, expected)


def test_asl_has_a_gradient_where_a_clamped_logarithm_has_none() -> None:
    z = torch.tensor([[-30.0]], requires_grad=True)
    asymmetric_loss(z, torch.ones(1, 1), ASLConfig()).sum().backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None and z.grad.item() == pytest.approx(-1)


def test_eql_v2_remembers_gradients_of_training_alone() -> None:
    method, some = toy_method("eqlv2", "nonlinear", {}), batch()
    assert isinstance(method, EQLv2)
    method.eval().loss(some, STAGE, 0)
    assert not method.positive.any() and not method.negative.any()
    method.train().loss(some, STAGE, 0)
    assert method.positive.all() and method.negative.all()
    assert {"positive", "negative"} <= method.state_dict().keys()


def test_eql_v2_lets_a_class_without_positives_fade() -> None:
    method, some = toy_method("eqlv2", "nonlinear", {}), batch()
    some.labels[:, 5] = 0
    first = method.loss(some, STAGE, 0).item()
    for _ in range(5):
        last = method.loss(some, STAGE, 0)
    assert last.isfinite() and last.item() != first
    assert method.positive[5] == 0 and method.negative[5] > 0


@pytest.mark.parametrize("name", LOSSES)
def test_each_declares_one_setting_to_search_with_its_default(name: str) -> None:
    marked = {f.name: f for f in fields(find_method(name).Config) if f.metadata.get(SEARCHED)}
    (setting,) = marked.values()
    assert len(setting.metadata[SEARCHED]) == 2 and setting.default in setting.metadata[SEARCHED]


def test_no_method_declares_more_than_one() -> None:
    for name in registered():
        marked = [f.name for f in fields(find_method(name).Config) if f.metadata.get(SEARCHED)]
        assert len(marked) <= 1, name


@pytest.mark.parametrize(("default", "grid"), [(1.0, (0.5, 2.0)), (1.0, (1.0, 1.0)), (1.0, (1.0,))])
def test_another_grid_than_the_default_and_one_more_is_refused(default, grid) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MethodError, match="must be two values, one of them the default 1"):
        searched(default, grid)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("asl", "gamma_neg", -1.0),
        ("asl", "margin", 1.0),
        ("ral", "gamma_neg", 0.5),
        ("ral", "hill", 0.9),
        ("dbloss", "neg_scale", 0.0),
        ("twoway", "temperature_pos", 0.0),
        ("logitadjust", "tau", -0.1),
        ("eqlv2", "alpha", -1.0),
    ],
)
def test_settings_out_of_range_are_refused(name: str, setting: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"{setting} is {value}; it must be"):
        changed(find_method(name).Config(), {setting: value})


def test_ap_does_not_change_under_what_is_done_to_all_scores_of_a_class() -> None:
    """docs/methods.md: shifts, positive scales and thresholds of a class keep its order."""
    from meid_bench.results.metrics import average_precision

    random = torch.Generator().manual_seed(0)
    z = torch.randn(200, CLASSES, generator=random, dtype=torch.float64)
    y = toy_labels(200, 3)
    before = average_precision(z.sigmoid().numpy(), y)
    shift, scale = 3 * torch.randn(CLASSES, generator=random), 0.2 + torch.rand(CLASSES)
    after = average_precision((z * scale + shift).sigmoid().numpy(), y)
    assert before.tolist() == after.tolist()
