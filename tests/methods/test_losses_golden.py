"""Losses since MEID against their authors' own code: values and gradients that it gave.

`losses_golden.json` holds what each repository's function, at the commit that the method's
`Reference` names, gave in double precision for the logits and labels below (DB loss in single, as
it converts to that). What had to be patched to run them, in a process of its own:

- ASL, APL, RAL and the two-way loss ran as they are.
- DB loss: mmcv's registry and loading of class counts, matplotlib and sklearn, which it imports and
  does not use here, were stand-ins, `.cuda()` did nothing, and the mean over its (B, C) was
  taken, as its trainer does.
- EQL v2: mmdet's registry and logger were stand-ins, `all_reduce` of one process did nothing, and
  the column for objectness was given the logit -10,000, so that it adds nothing. "eqlv2, one label"
  is its own forward; for "eqlv2" the line that makes a one-hot row of a class number was replaced,
  so that it takes the labels below.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.apl import APLConfig, polynomial_loss
from baselines.asl import ASL, ASLConfig, asymmetric_loss
from baselines.dbloss import DBLoss
from baselines.eqlv2 import EQLv2
from baselines.ral import RALConfig, robust_loss
from baselines.twoway import TwoWayConfig, two_way_loss
from meid_bench.methods.layers import Aggregator
from meid_bench.methods.method import Batch, Method, Stage, Task
from meid_bench.methods.settings import changed

GOLDEN = json.loads((Path(__file__).parent / "losses_golden.json").read_text(encoding="utf-8"))
VIDEOS, COUNTS = 6, (40, 30, 18, 6, 2)
CLASSES = len(COUNTS)
TASK = Task(CLASSES, COUNTS, {"head": (0, 1), "medium": (2, 3), "tail": (4,)}, 1, 60)
STAGE = Stage("train", 1, 0.1)


def wave(step: float, shift: float = 0.0) -> Tensor:
    """The sine of 0, 1, 2, ... times `step`, (B, C)."""
    numbers = torch.arange(VIDEOS * CLASSES, dtype=torch.float64)
    return torch.sin(step * numbers + shift).view(VIDEOS, CLASSES)


def logits(step: float = 1.7) -> Tensor:
    """Between -8 and 8, (B, C)."""
    return (8 * wave(step)).requires_grad_()


def labels() -> Tensor:
    """Without a positive of the first class, and without a label of the last video."""
    found = (wave(2.3, 1.0) > 0.4).double()
    found[:, 0] = 0
    found[-1] = 0
    return found


class Shown(Aggregator):
    """Logits are the video itself: what a method's loss makes of them is all that is tested."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


def loss_of(kind: type[Method], settings: dict[str, Any], z: Tensor, y: Tensor) -> Tensor:
    """A method's loss of logits."""
    return step_of(kind(TASK, changed(kind.Config(), settings), Shown), z, y)


def step_of(method: Method, z: Tensor, y: Tensor) -> Tensor:
    return method.loss(Batch(z[:, None], y.float(), None, torch.Generator()), STAGE, 0)


def check(value: Tensor, z: Tensor, golden: dict[str, Any]) -> None:
    value.backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    assert value.item() == pytest.approx(golden["value"], rel=2e-7, abs=1e-6)
    torch.testing.assert_close(
        z.grad, torch.tensor(golden["gradient"]).to(z.grad), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("name", "function", "config"),
    [
        ("asl", asymmetric_loss, ASLConfig()),
        ("asl, class", asymmetric_loss, changed(ASLConfig(), ASL.presets["class"])),
        ("apl", polynomial_loss, APLConfig()),
        ("ral", robust_loss, RALConfig()),
    ],
)
def test_asymmetric_losses_are_their_authors(name: str, function: Any, config: Any) -> None:
    """Gradients too: focusing weights take none in ASL and APL, and do in RAL."""
    z = logits()
    check(function(z, labels(), config).sum(), z, GOLDEN[name])


def test_two_way_loss_is_its_authors() -> None:
    z = logits()
    check(two_way_loss(z, labels(), TwoWayConfig()), z, GOLDEN["twoway"])


@pytest.mark.parametrize("preset", [None, "voc"])
def test_db_loss_is_its_authors(preset: str | None) -> None:
    z = logits()
    settings = DBLoss.presets[preset] if preset else {}
    value = loss_of(DBLoss, dict(settings), z, labels())
    check(value, z, GOLDEN[f"dbloss, {preset}" if preset else "dbloss"])


@pytest.mark.parametrize("name", ["eqlv2", "eqlv2, one label"])
def test_eql_v2_is_its_authors_over_three_steps(name: str) -> None:
    """The weights of a step come from the gradients of those before it."""
    y = labels() if name == "eqlv2" else torch.eye(CLASSES)[[0, 2, 1, 3, 1, 4]].double()
    method = EQLv2(TASK, EQLv2.Config(), Shown)
    for step, golden in zip((1.7, 1.1, 0.6), GOLDEN[name], strict=True):
        z = logits(step)
        check(step_of(method, z, y), z, golden)
        ratio = method.positive / method.negative
        torch.testing.assert_close(ratio, torch.tensor(golden["ratio"]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["asl", "apl", "ral"])
def test_a_methods_sum_is_over_classes_and_its_mean_over_videos(name: str) -> None:
    from meid_bench.methods.registry import find_method

    kind = find_method(name)
    total = GOLDEN[name]["value"]
    for reduction, divisor in (("sum", VIDEOS), ("mean", VIDEOS * CLASSES)):
        found = loss_of(kind, {"reduction": reduction}, logits(), labels())
        assert found.item() == pytest.approx(total / divisor, rel=1e-6)
