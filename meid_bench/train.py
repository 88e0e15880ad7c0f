"""fit(): the one training loop, the same for every method."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from meid_bench.data import Examples, draw_frames, in_order
from meid_bench.errors import MethodError
from meid_bench.method import Batch, Method, Stage, require
from meid_bench.metrics import average_precision, group_means
from meid_bench.results import CurvePoint, StageResult
from meid_bench.sampling import EpochSampler, batches

State = dict[str, Tensor]


@dataclass(frozen=True)
class RunnerConfig:
    """Settings of the runner, the same for every method.

    Attributes:
        batch: Videos a step.
        clip: Largest norm of the gradient.
        training_frames: Frames drawn of a video in each step; None for the benchmark's own rule.

    Reference: VideoLT's scripts: batch 128, clip 20 (the paper names neither).
    """

    batch: int = 128
    clip: float = 20.0
    training_frames: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that no training can use."""
        require(self.batch >= 1, "batch", self.batch, "at least 1")
        require(self.clip > 0, "clip", self.clip, "above 0")
        frames = self.training_frames
        require(frames is None or frames >= 1, "training_frames", frames, "at least 1, or none")


@dataclass
class Fit:
    """What training ended with.

    Attributes:
        stages: Each stage's length and best epoch on val.
        best: Parameters and buffers of the last stage's best epoch.
        last: Those of its last epoch.
        diagnostics: The method's last measurements of itself.
        warnings: What they say went wrong, sentences.
    """

    stages: list[StageResult] = field(default_factory=list)
    best: State = field(default_factory=dict)
    last: State = field(default_factory=dict)
    diagnostics: dict[str, float | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """Everything that one call of `fit` trains on and with.

    Attributes:
        method: On the device of the examples.
        train: Training videos.
        val: Validation videos, scored after every epoch.
        val_scores: From probabilities (N_val, C) to "overall", "head", "medium" and "tail" mAP.
        config: The runner's settings.
        seed: Every draw depends on it, the stage and the epoch alone.
        log: Takes each epoch's point of the learning curve.
    """

    method: Method
    train: Examples
    val: Examples
    val_scores: Callable[[NDArray[np.float32]], Mapping[str, float | None]]
    config: RunnerConfig
    seed: int
    log: Callable[[CurvePoint], None]


def fit(training: Training) -> Fit:
    """Train every stage; each starts from the best epoch, on val, of the one before.

    Raises:
        MethodError: The method breaks its contract: nothing to train, a wrong shape, a NaN.
    """
    outcome = Fit()
    for number, stage in enumerate(training.method.stages()):
        fit_stage(training, stage, number, outcome)
        training.method.load_state_dict(outcome.best)
    return outcome


def fit_stage(training: Training, stage: Stage, number: int, outcome: Fit) -> None:
    """Train one stage, and leave its best and last states in `outcome`."""
    method = training.method
    method.begin_stage(stage)
    optimiser = torch.optim.Adam(select_trainable(method, stage), lr=stage.lr)
    sampler = EpochSampler(training.train.labels, stage.sampler)
    best_epoch, best_map = -1, -np.inf
    for epoch in range(stage.epochs):
        lr = learning_rate(stage, epoch)
        for group in optimiser.param_groups:
            group["lr"] = lr
        loss = train_epoch(training, stage, number, epoch, sampler, optimiser)
        scores = training.val_scores(predict(method, training.val, training.config.batch))
        outcome.diagnostics = diagnose(training, stage)
        training.log(CurvePoint(stage.name, epoch, lr, loss, scores, outcome.diagnostics))
        if (scores["overall"] or 0.0) > best_map:
            best_epoch, best_map = epoch, scores["overall"] or 0.0
            outcome.best = snapshot(method)
    outcome.last = snapshot(method)
    outcome.stages.append(StageResult(stage.name, stage.epochs, best_epoch, best_map))
    outcome.warnings += alarms(method, stage, outcome.diagnostics)


def learning_rate(stage: Stage, epoch: int) -> float:
    """The rate of an epoch: ten times lower from each milestone on."""
    rate: float = stage.lr * 0.1 ** bisect_right(stage.milestones, epoch)
    return rate


def select_trainable(method: Method, stage: Stage) -> list[nn.Parameter]:
    """Let exactly the stage's parameters take gradients, and return them.

    Raises:
        MethodError: There are none.
    """
    chosen = list(method.trainable(stage))
    if not chosen:
        raise MethodError(
            f"{type(method).__name__} has no trainable parameter in stage {stage.name!r}"
        )
    wanted = {id(parameter) for parameter in chosen}
    for parameter in method.parameters():
        parameter.requires_grad_(id(parameter) in wanted)
    return chosen


def training_mode(method: Method) -> None:
    """Training mode, except for modules whose parameters are all frozen.

    A frozen expert must not change at all: no dropout, no running statistics.
    """
    method.train()
    for module in method.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def train_epoch(
    training: Training,
    stage: Stage,
    number: int,
    epoch: int,
    sampler: EpochSampler,
    optimiser: torch.optim.Optimizer,
) -> float:
    """One pass over an epoch's draws; returns the mean loss.

    Raises:
        MethodError: The loss is no scalar or not finite.
    """
    method, train, config = training.method, training.train, training.config
    draws = sampler.draw(training.seed, number, epoch)
    generator = seeded(training.seed, number, epoch, train.device)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    wants_ap = type(method).end_epoch is not Method.end_epoch
    seen: list[Tensor] = []
    total = torch.zeros((), device=train.device)
    training_mode(method)
    steps = batches(len(draws.index), config.batch)
    for part in steps:
        batch = make_batch(train, draws.index[part], generator, config.training_frames)
        if draws.picked is not None:
            batch.picked = torch.from_numpy(draws.picked[part]).to(train.device)
        if wants_ap:
            seen.append(_quiet_scores(method, batch.features))
        loss = method.loss(batch, stage, epoch)
        if loss.ndim:
            raise MethodError(
                f"{type(method).__name__}.loss returned a tensor of shape {tuple(loss.shape)}; "
                "expected a scalar"
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, config.clip)
        optimiser.step()
        total += loss.detach()
    mean = float(total) / len(steps)
    if not np.isfinite(mean):
        raise MethodError(
            f"{type(method).__name__}: the loss is {mean} in stage {stage.name!r}, epoch {epoch}; "
            "try a lower learning rate (--set lr=...)"
        )
    if wants_ap:
        ap = average_precision(torch.cat(seen).cpu().numpy(), train.labels[draws.index])
        method.end_epoch(stage, epoch, torch.from_numpy(ap).float().to(train.device))
    return mean


def seeded(seed: int, stage: int, epoch: int, device: torch.device) -> torch.Generator:
    """A generator for one epoch; torch's own (dropout) is seeded alike.

    Every epoch starts from its own numbers, so that a resumed run draws what it would have drawn.
    """
    words = np.random.SeedSequence([seed, stage, epoch]).generate_state(2, np.uint64)
    torch.manual_seed(int(words[0]) >> 1)
    return torch.Generator(device).manual_seed(int(words[1]) >> 1)


def make_batch(
    train: Examples,
    index: NDArray[np.int64],
    generator: torch.Generator,
    training_frames: int | None,
) -> Batch:
    """The videos at `index` as a batch, with the frames that a step sees."""
    features = draw_frames(train.frames_of(index), training_frames, generator)
    return Batch(features, train.labels_of(index), None, generator)


@torch.no_grad()
def _quiet_scores(method: Method, features: Tensor) -> Tensor:
    """Probabilities (B, C) in eval mode, leaving the method as it was."""
    method.eval()
    scores: Tensor = method(features).float().sigmoid()
    training_mode(method)
    return scores


@torch.no_grad()
def predict(method: Method, examples: Examples, batch: int) -> NDArray[np.float32]:
    """Probabilities of every video, (N, C) float32.

    Raises:
        MethodError: The method's logits have a wrong shape or are not finite.
    """
    method.eval()
    classes = examples.labels.shape[1]
    parts = []
    for index in in_order(len(examples), batch):
        logits = method(examples.frames_of(index))
        if logits.shape != (len(index), classes):
            raise MethodError(
                f"{type(method).__name__} returned logits of shape {tuple(logits.shape)}; "
                f"expected {(len(index), classes)}, videos by classes"
            )
        parts.append(logits.float().sigmoid())
    scores: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    if not np.isfinite(scores).all():
        raise MethodError(f"{type(method).__name__} returned logits that are not finite")
    return scores


def diagnose(training: Training, stage: Stage) -> dict[str, float | None]:
    """The method's measurements of itself, in eval mode, on the same first videos each epoch."""
    method, train, config = training.method, training.train, training.config
    if type(method).diagnostics is Method.diagnostics:
        return {}
    method.eval()
    index = np.arange(min(config.batch, len(train)))
    generator = torch.Generator(train.device).manual_seed(training.seed)
    batch = make_batch(train, index, generator, config.training_frames)
    values = method.diagnostics(batch, stage)
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def alarms(method: Method, stage: Stage, diagnostics: Mapping[str, float | None]) -> list[str]:
    """What the last measurements of a stage warn of, sentences."""
    raised = []
    for name, alarm in method.alarms.items():
        value = diagnostics.get(name)
        if value is not None and not alarm.low <= value <= alarm.high:
            raised.append(f"Stage {stage.name!r}: {alarm.meaning} ({name} = {value:.3g})")
    return raised


def point_scores(
    labels: NDArray[np.uint8], groups: Mapping[str, NDArray[np.int64]]
) -> Callable[[NDArray[np.float32]], dict[str, float | None]]:
    """What `fit` asks val for: probabilities -> overall and group mAP."""

    def score(scores: NDArray[np.float32]) -> dict[str, float | None]:
        means = group_means(average_precision(scores, labels), groups)
        return {name: None if np.isnan(value) else value for name, value in means.items()}

    return score


def snapshot(method: nn.Module) -> State:
    """A copy of all parameters and buffers, in host memory."""
    return {name: value.detach().cpu().clone() for name, value in method.state_dict().items()}
