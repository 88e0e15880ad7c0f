"""fit(): the one training loop, the same for every method."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from meid_bench import distributed as ranks
from meid_bench.compiler import require_compiler
from meid_bench.methods.method import Method, Stage
from meid_bench.methods.runner_config import RunnerConfig
from meid_bench.methods.samplers import EpochSampler
from meid_bench.results.metrics import average_precision, group_means
from meid_bench.results.record import CurvePoint, StageResult
from meid_bench.training.batchnorm import normalise_over_ranks
from meid_bench.training.checkpoint import Checkpoint, Progress, load_optimiser, optimiser_tensors
from meid_bench.training.data import Examples, frame_rule
from meid_bench.training.diagnostics import alarms, diagnose, setback
from meid_bench.training.epoch import Stepper, seeded, train_epoch
from meid_bench.training.scoring import predict

State = dict[str, Tensor]


@dataclass
class Fit:
    """How far training has come, and what it ended with.

    Attributes:
        stages: Each finished stage's length and best epoch on val.
        best: Parameters and buffers of the present stage's best epoch; at the end the last one's.
        last: Those of the last stage's last epoch.
        best_epoch, best_map: Of the present stage; -1 and 0 before its first epoch.
        diagnostics: The method's last measurements of itself.
        warnings: What they say went wrong, sentences.
        curve: Every epoch's point.
    """

    stages: list[StageResult] = field(default_factory=list)
    best: State = field(default_factory=dict)
    last: State = field(default_factory=dict)
    best_epoch: int = -1
    best_map: float = 0.0
    diagnostics: dict[str, float | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)


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
        checkpoint: Where to go on from, and to write to; None for neither.
        bfloat16: Whether training's matrix products are in bfloat16.
        compile: Whether to compile the method's modules.
    """

    method: Method
    train: Examples
    val: Examples
    val_scores: Callable[[NDArray[np.float32]], Mapping[str, float | None]]
    config: RunnerConfig
    seed: int
    log: Callable[[CurvePoint], None]
    checkpoint: Checkpoint | None = None
    bfloat16: bool = False
    compile: bool = False


def fit(training: Training) -> Fit:
    """Train every stage; each starts from the best epoch, on val, of the one before.

    With a checkpoint it goes on where an earlier call was interrupted, and ends with the same
    numbers. Within a process group it is one of several ranks, each with a part of every batch.

    Raises:
        MeidBenchError: The method breaks its contract (nothing to train, a wrong shape, a NaN),
            or the checkpoint is damaged.
    """
    method = training.method
    if ranks.size() > 1:
        normalise_over_ranks(method)
    if training.compile:
        require_compiler(training.train.device)
        for module in method.children():
            module.compile()
    outcome, stage_number, epoch, optimiser = resume(training)
    stages = method.stages()
    for number, stage in enumerate(stages[stage_number:], start=stage_number):
        method.begin_stage(stage)
        fit_stage(training, stage, number, outcome, epoch, optimiser)
        method.load_state_dict(outcome.best)
        epoch, optimiser = 0, {}
    method.begin_stage(stages[-1])  # where all stages were done before
    return outcome


def fit_stage(
    training: Training, stage: Stage, number: int, outcome: Fit, start: int, optimiser: State
) -> None:
    """Train one stage from epoch `start` on, and leave its best and last states in `outcome`."""
    method, config = training.method, training.config
    stepper = Stepper(method, stage, training.train.device, config.clip, training.bfloat16)
    load_optimiser(stepper.optimiser, optimiser)
    sampler = EpochSampler(training.train.labels, stage.sampler)
    for epoch in range(start, stage.epochs):
        stepper.set_rate(learning_rate(stage, epoch))
        draws = sampler.draw(training.seed, number, epoch)
        generator = seeded(training.seed, number, epoch, training.train.device)
        loss = train_epoch(
            stepper, training.train, draws, generator, epoch, config.batch, frame_rule(config)
        )
        evaluate(training, stage, epoch, loss, outcome)
        last = epoch + 1 == stage.epochs
        if not last and training.checkpoint is not None and training.checkpoint.due():
            here = {"model": snapshot(method), "optimiser": optimiser_tensors(stepper.optimiser)}
            save(training.checkpoint, outcome, number, epoch + 1, here)
    outcome.last = snapshot(method)
    outcome.stages.append(
        StageResult(stage.name, stage.epochs, outcome.best_epoch, outcome.best_map)
    )
    outcome.warnings += alarms(method, stage, outcome.diagnostics) + setback(outcome.stages)
    outcome.best_epoch, outcome.best_map = -1, 0.0
    if training.checkpoint is not None:
        save(training.checkpoint, outcome, number + 1, 0, {"last": outcome.last})


def evaluate(training: Training, stage: Stage, epoch: int, loss: float, outcome: Fit) -> None:
    """Score val after an epoch, log it, and keep the state where it is the best so far."""
    method, config = training.method, training.config
    found = predict(method, training.val, config.batch)
    # Scored once: every rank's threads would sort the same numbers on the same cores.
    scores = ranks.from_first(training.val_scores(found) if ranks.rank() == 0 else {})
    outcome.diagnostics = diagnose(
        method, stage, training.train, config.batch, frame_rule(config), training.seed
    )
    lr = learning_rate(stage, epoch)
    point = CurvePoint(stage.name, epoch, lr, loss, scores, outcome.diagnostics)
    outcome.curve.append(point)
    training.log(point)
    overall = scores["overall"] or 0.0
    if outcome.best_epoch < 0 or overall > outcome.best_map:
        outcome.best_epoch, outcome.best_map = epoch, overall
        outcome.best = snapshot(method)


def resume(training: Training) -> tuple[Fit, int, int, State]:
    """What was done before: the outcome so far, the stage and epoch to go on with, the optimiser.

    Raises:
        DataError: The checkpoint is damaged, or of another network.
    """
    checkpoint = training.checkpoint
    progress = None if checkpoint is None else checkpoint.progress()
    if checkpoint is None or progress is None:
        return Fit(), 0, 0, {}
    tensors = checkpoint.tensors()
    outcome = Fit(
        stages=list(progress.stages),
        best=tensors["best"],
        last=tensors.get("last", {}),
        best_epoch=progress.best_epoch,
        best_map=progress.best_map,
        diagnostics=dict(progress.diagnostics),
        warnings=list(progress.warnings),
        curve=list(progress.curve),
    )
    try:
        training.method.load_state_dict(tensors.get("model", outcome.best))
    except RuntimeError as error:
        raise checkpoint.damaged(error) from error
    if progress.made_with != checkpoint.made_with:
        outcome.warnings.append(
            f"The first {len(outcome.curve)} epochs were computed with {progress.made_with}, the "
            f"rest with {checkpoint.made_with}: neither alone gives these numbers"
        )
    return outcome, progress.stage, progress.epoch, tensors.get("optimiser", {})


def save(
    checkpoint: Checkpoint, outcome: Fit, stage: int, epoch: int, tensors: Mapping[str, State]
) -> None:
    """Write where to go on: at `epoch` of stage number `stage`; the first rank does."""
    if ranks.rank() > 0:
        return
    progress = Progress(
        stage=stage,
        epoch=epoch,
        best_epoch=outcome.best_epoch,
        best_map=outcome.best_map,
        stages=tuple(outcome.stages),
        diagnostics=outcome.diagnostics,
        warnings=tuple(outcome.warnings),
        curve=tuple(outcome.curve),
        made_with=checkpoint.made_with,
    )
    checkpoint.save(progress, {"best": outcome.best, **tensors})


def learning_rate(stage: Stage, epoch: int) -> float:
    """The rate of an epoch: ten times lower from each milestone on."""
    rate: float = stage.lr * 0.1 ** bisect_right(stage.milestones, epoch)
    return rate


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
