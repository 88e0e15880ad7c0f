"""Method: the whole extension interface. A method is a network, a loss and its stages.

The runner owns everything else (optimiser, schedule, batches, devices, precision, logging,
model selection), so that two rows of the board differ only by the method.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from meid_bench.codec import check_recordable
from meid_bench.errors import MethodError, SettingError
from meid_bench.methods.layers import MakeAggregator

Sampler = Literal["uniform", "class_balanced", "square_root"]
Family = Literal["loss", "sampler", "augmentation", "two-stage", "network", "other"]

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """All of a benchmark that a method may see: training statistics, no ids, no test labels.

    Attributes:
        width: D, numbers per frame.
        counts: Training videos per class, C of them.
        groups: "head", "medium" and "tail" to class indices.
        frames: T, frames of a video.
        videos: N, training videos; the counts do not tell, since a video may have many labels.
    """

    width: int
    counts: tuple[int, ...]
    groups: Mapping[str, tuple[int, ...]]
    frames: int
    videos: int

    @property
    def classes(self) -> int:
        """C, the number of classes."""
        return len(self.counts)


@dataclass(frozen=True)
class Stage:
    """A stretch of training with one optimiser and one sampler.

    Attributes:
        name: What the learning curve calls it.
        epochs: How many passes; a balanced epoch has as many draws as there are videos.
        lr: Adam's initial learning rate.
        milestones: Epochs, counted from 0, from which the rate is ten times lower than before.
        sampler: How videos are drawn.
    """

    name: str
    epochs: int
    lr: float
    milestones: tuple[int, ...] = (30, 60)
    sampler: Sampler = "uniform"

    def __post_init__(self) -> None:
        """Refuse a name that no record can hold."""
        check_recordable(self.name, "the stage's name")


@dataclass
class Batch:
    """Some videos' features and labels, and the randomness that a loss may use.

    Attributes:
        features: (B, T, D) float.
        labels: (B, C) float of 0 and 1.
        picked: (B,) int64, the class that a balancing sampler drew, or None.
        generator: Random numbers on the features' device, from the run's seed.
    """

    features: Tensor
    labels: Tensor
    picked: Tensor | None
    generator: torch.Generator

    def __len__(self) -> int:
        """B, the number of videos."""
        return len(self.features)

    def shuffled(self, count: int | None = None) -> "Batch":
        """Videos in a random order: the partners of those that mix videos.

        Args:
            count: Shuffle the first so many among themselves, and leave each of the others its
                own partner; None shuffles all.
        """
        order = random_order(len(self), count, self.generator)
        picked = None if self.picked is None else self.picked[order]
        return Batch(self.features[order], self.labels[order], picked, self.generator)

    def uniform(self, *shape: int) -> Tensor:
        """Random numbers in [0, 1), (B, *shape)."""
        device = self.features.device
        return torch.rand(len(self), *shape, generator=self.generator, device=device)


def random_order(videos: int, count: int | None, generator: torch.Generator) -> Tensor:
    """0 to videos - 1, (videos,) int64, the first `count` of them (None: all) in a random order."""
    order = torch.arange(videos, device=generator.device)
    first = videos if count is None else count
    order[:first] = torch.randperm(first, generator=generator, device=generator.device)
    return order


WHOLE_AGGREGATOR = "aggregator"  # in `idle`: the method has its own network in its place

# Keys of a setting's metadata.
IN_EPOCHS, LEARNING_RATE, SEARCHED = "in_epochs", "learning_rate", "searched"


def in_epochs(default: Any) -> Any:
    """Declare a setting that is counted in epochs; a shortened schedule scales it."""
    return field(default=default, metadata={IN_EPOCHS: True})


def learning_rate(default: float) -> Any:
    """Declare a setting that is a learning rate; protocol "equal" searches it."""
    return field(default=default, metadata={LEARNING_RATE: True})


def searched(default: T, grid: tuple[T, T]) -> Any:
    """Declare one more setting that protocol "equal" searches, beside the learning rates.

    Args:
        default: Its value elsewhere.
        grid: The two values that are tried, the default and another.

    Raises:
        MethodError: It is another grid: every method gets the same number of trials.
    """
    if len(grid) != 2 or default not in grid or grid[0] == grid[1]:
        raise MethodError(
            f"A searched setting has the grid {grid}; it must be two values, one of them the "
            f"default {default}"
        )
    return field(default=default, metadata={SEARCHED: grid})


@dataclass(frozen=True)
class MethodConfig:
    """Settings that every method has; a method's own Config extends it.

    Settings that are learning rates or counted in epochs are declared with `learning_rate` and
    `in_epochs`, so that `--protocol equal` and `--quick` find them; one more that the protocol
    may try is declared with `searched`.

    Attributes:
        epochs: Passes over the training videos in a stage.
        lr: Adam's initial learning rate (of the first stage).
        milestones: Epochs at which the learning rate falls to a tenth.

    Reference: MEID (AAAI 2023), Implementation Details: 100 epochs, 1e-3, x0.1 at 30 and 60.
    """

    epochs: int = in_epochs(100)
    lr: float = learning_rate(1e-3)
    milestones: tuple[int, ...] = in_epochs((30, 60))

    def __post_init__(self) -> None:
        """Refuse values that no training can use."""
        require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        require(0 < self.lr < 1, "lr", self.lr, "between 0 and 1")
        require_ascending("milestones", self.milestones)

    def idle(self, task: Task) -> Mapping[str, str]:
        """Settings that this configuration does not use on a task, each with the reason.

        The reason follows "because". Such a setting is refused where the user gives it, and a
        record leaves it out. "aggregator" stands for all settings of the aggregator: of a method
        that has its own network in its place.
        """
        return {}


def require(holds: bool, name: str, value: object, expected: str) -> None:
    """Refuse a setting that is out of range.

    Raises:
        SettingError: `holds` is false.
    """
    if not holds:
        raise SettingError(f"Setting {name} is {value}; it must be {expected}")


def require_ascending(name: str, epochs: tuple[int, ...]) -> None:
    """Refuse milestones that do not come one after the other.

    Raises:
        SettingError: They do not.
    """
    ascending = all(a < b for a, b in pairwise(epochs))
    require(ascending, name, epochs, "in ascending order")


@dataclass(frozen=True)
class Alarm:
    """When a diagnostic means that something failed without a sign.

    Attributes:
        low: Values below it raise the alarm.
        high: Values above it do.
        meaning: What the user should know, a sentence.
    """

    meaning: str
    low: float = float("-inf")
    high: float = float("inf")


class Method(nn.Module):
    """A network from frame features to logits, and how it is trained.

    A subclass names its Config, builds its network in `__init__`, and overrides `forward`
    and `loss`; the rest has defaults. Its first docstring line is what `meid-bench methods`
    shows; `Reference` and `Differs` say what it stands for.

    Attributes:
        Config: A frozen dataclass extending MethodConfig; its defaults are the source's values.
        presets: Preset name -> settings that it changes, as in `--set`: its own, the runner's,
            and the aggregator's ("aggregator.<name>", left out where the chosen one has none of
            that name). "default" holds where no preset is named: for settings that are not in
            Config. {"method": NAME} leads to another method.
        alarms: Diagnostic name -> when to warn.
        all_frames: Whether the network needs all T frames in training too.
        family: What the method changes, by which `meid-bench methods` groups.
        venue: Where it was published, with the year ("ICCV 2021"); a subclass states its own.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    alarms: ClassVar[Mapping[str, Alarm]] = {}
    sampler: ClassVar[Sampler] = "uniform"
    all_frames: ClassVar[bool] = False
    family: ClassVar[Family] = "other"
    venue: ClassVar[str] = ""

    def __init__(self, task: Task, config: Any, make_aggregator: MakeAggregator) -> None:
        super().__init__()
        self.task = task
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C) of frame features (B, T, D)."""
        raise NotImplementedError

    def loss(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """A scalar to minimise; `epoch` counts from 0 within the stage."""
        raise NotImplementedError

    def stages(self) -> Sequence[Stage]:
        """The method's own schedule."""
        config: MethodConfig = self.config
        return (Stage("train", config.epochs, config.lr, config.milestones, self.sampler),)

    def begin_stage(self, stage: Stage) -> None:
        """Take up a stage: called before it is trained, and before a trained one is used."""

    def trainable(self, stage: Stage) -> Iterable[nn.Parameter]:
        """The parameters that a stage trains; modules without any stay in eval mode."""
        return self.parameters()

    def end_epoch(self, stage: Stage, epoch: int, train_ap: Tensor) -> None:
        """Take the training videos' per-class AP (C,), NaN where a class has none.

        Only where it is overridden does the runner forward each batch once more for it.
        """

    def explain(self, x: Tensor) -> dict[str, Tensor]:
        """What the network looks at: frame weights (B, T) and logits (B, C) by name."""
        return {}

    def diagnostics(self, batch: Batch, stage: Stage) -> dict[str, float]:
        """Numbers that tell a silent failure, measured once an epoch in eval mode."""
        return {}


class AggregatorMethod(Method):
    """A method whose network is the aggregator that the user chose, and nothing else.

    What is left to a subclass is `loss`, a sampler, or both.
    """

    def __init__(self, task: Task, config: Any, make_aggregator: MakeAggregator) -> None:
        super().__init__(task, config, make_aggregator)
        self.aggregator = make_aggregator(task.width, task.classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, C)."""
        logits: Tensor = self.aggregator(x)
        return logits
