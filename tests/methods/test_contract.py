"""The contract over every registered method, and that it can fail."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from meid_bench.methods.aggregators import AGGREGATORS
from meid_bench.methods.contract import CLAUSES, check_method
from meid_bench.methods.method import AggregatorMethod, Batch, Method, MethodConfig, Stage
from meid_bench.methods.registry import find_method, registered

METHODS = ["apl", "asl", "cbloss", "cbs", "dbloss", "eql", "eqlv2", "framestack", "ldam"]
METHODS += ["logitadjust", "meid", "meid-authors", "mixup", "plain", "ral", "srs", "twoway"]
METHODS += ["crt", "lmr", "move"]
OWN_NETWORK = {"move"}  # the same with every aggregator
CASES = [(name, "nonlinear") for name in METHODS] + [
    (name, aggregator)
    for name in METHODS
    for aggregator in AGGREGATORS
    if aggregator != "nonlinear" and name not in OWN_NETWORK
]


def test_every_method_of_the_project_is_registered() -> None:
    assert set(METHODS) <= set(registered())


@pytest.mark.parametrize(("name", "aggregator"), CASES)
def test_every_registered_method_keeps_the_contract(name: str, aggregator: str) -> None:
    broken = [clause for clause in check_method(find_method(name), aggregator) if clause.problem]
    assert broken == []


class Good(AggregatorMethod):
    """Squared error: the least that a method needs."""

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        return (self(batch.features).sigmoid() - batch.labels).square().mean()


class WrongShape(Good):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 1:]

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        return self(batch.features).square().mean()


class NotANumber(Good):
    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        return super().loss(batch, stage, epoch) * float("nan")


class VectorLoss(Good):
    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        return self(batch.features).square().mean(1)


class NothingToTrain(Good):
    def trainable(self, stage: Stage) -> list[torch.nn.Parameter]:
        return []


class Detached(Good):
    """Names a parameter that its loss does not reach."""

    def __init__(self, task, config, make_aggregator):  # type: ignore[no-untyped-def]
        super().__init__(task, config, make_aggregator)
        self.unused = torch.nn.Linear(2, 2)


class GoesUp(Good):
    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        value = super().loss(batch, stage, epoch)
        return 2 * value.detach() - value


class OwnRandomness(Good):
    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        noise = torch.rand((), generator=FREE)
        return super().loss(batch, stage, epoch) * (1 + noise)


FREE = torch.Generator()


class GlobalRandomness(Good):
    """Noise that the runner's ranks would not agree on, and that `--seed` alone would not fix."""

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        return super().loss(batch, stage, epoch) * (1 + torch.rand_like(batch.labels).mean())


class LateRandomness(Good):
    """Draws from the second epoch on, and in training alone."""

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        noise = torch.randn(()) if epoch and self.training else 0.0
        return super().loss(batch, stage, epoch) * (1 + 0.01 * noise)


class DropsOut(Good):
    """Every way in which a network drops, and noise from where it belongs."""

    def __init__(self, task, config, make_aggregator):  # type: ignore[no-untyped-def]
        super().__init__(task, config, make_aggregator)
        self.drop = torch.nn.Dropout(0.2)
        self.mix = torch.nn.MultiheadAttention(task.width, 1, dropout=0.2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.drop(x + self.mix(x, x, x)[0])
        return super().forward(torch.nn.functional.dropout(mixed, 0.1, self.training))

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        return super().loss(batch, stage, epoch) * (1 + 0.01 * batch.uniform().mean())


class HiddenState(Good):
    """Keeps a number that logits depend on outside its state."""

    shift = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.shift

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        self.shift += self.training * 0.5
        return super().loss(batch, stage, epoch)


@dataclass(frozen=True)
class PathConfig(MethodConfig):
    names: dict[int, int] = field(default_factory=lambda: {1: 2})


class OddSettings(Good):
    Config = PathConfig


class UnwritableStage(Good):
    def stages(self) -> list[Stage]:
        return [Stage("\udc80", 1, 0.1)]


class Mutable(Good):
    Config = dict  # type: ignore[assignment]


def problems(kind: type[Method]) -> dict[str, str]:
    return {c.name: c.problem for c in check_method(kind, "nonlinear") if c.problem}


def test_a_good_method_has_no_problem() -> None:
    assert problems(Good) == {}
    assert problems(DropsOut) == {}
    assert len(check_method(Good, "nonlinear")) == len(CLAUSES)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (WrongShape, r"shape (48, 5) in stage 'train'; expected (48, 6), videos by classes"),
        (NotANumber, "the loss in stage 'train', epoch 0 is nan"),
        (VectorLoss, "has the shape (48,), not a scalar"),
        (NothingToTrain, "NothingToTrain has no trainable parameter in stage 'train'"),
        (Detached, "unused.weight has no gradient in stage 'train', where trainable() names it"),
        (GoesUp, "30 steps do not lower the loss in stage 'train'"),
        (OwnRandomness, "the same seed gives other losses on a second run"),
        (GlobalRandomness, "the loss in stage 'train', epoch 0 follows torch's global seed"),
        (LateRandomness, "the loss in stage 'train', epoch 1 follows torch's global seed"),
        (HiddenState, "logits differ after the weights were written and read"),
        (OddSettings, "which no file can hold (its keys are not text)"),
        (UnwritableStage, r"the stage's name is '\udc80', which no file can hold"),
        (Mutable, "Mutable.Config must be a frozen dataclass that extends MethodConfig"),
    ],
)
def test_a_method_that_breaks_a_clause_is_told_which(kind: type[Method], sentence: str) -> None:
    assert any(sentence in problem for problem in problems(kind).values()), problems(kind)
