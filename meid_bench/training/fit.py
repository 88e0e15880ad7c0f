"""fit(): the one training loop, the same for every method."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from meid_bench import distributed
from meid_bench.device import require_compiler
from meid_bench.methods.method import Method, Stage
from meid_bench.methods.samplers import EpochSampler
from meid_bench.methods.settings import RunnerConfig
from meid_bench.results.metrics import average_precision, group_means
from meid_bench.results.record import CurvePoint, StageResult
from meid_bench.training.batchnorm import normalise_over_ranks
from meid_bench.training.checkpoint import Checkpoint, Fit, load_optimiser, optimiser_tensors
from meid_bench.training.data import Examples
from meid_bench.training.diagnostics import alarms, diagnose, setback
from meid_bench.training.epoch import Stepper, seeded, train_epoch
from meid_bench.training.scoring import predict_scores


@dataclass(frozen=True)
class Training:
    """Everything that one call of `fit` trains on and with.

    Attributes:
        method: On the device of the examples.
        val: Scored after every epoch.
        val_scores: From probabilities (N_val, C) to "overall", "head", "medium" and "tail" mAP.
        seed: Every draw depends on it, the stage and the epoch alone.
        log: Takes each epoch's point of the learning curve.
        checkpoint: What to resume from and write to; None for neither.
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

    With a checkpoint it resumes an interrupted call, and ends with the same numbers. Within a
    process group it is one of several ranks, each with a part of every batch.

    Raises:
        MeidBenchError: The method breaks its contract (nothing to train, a wrong shape, a NaN),
            or the checkpoint is damaged.
    """
    method = training.method
    if distributed.size() > 1:
        normalise_over_ranks(method)
    if training.compile:
        require_compiler(training.train.device)
        for module in method.children():
            module.compile()
    state, stages = resume(training), method.stages()
    while state.stage < len(stages):
        method.begin_stage(stages[state.stage])
        fit_stage(training, stages[state.stage], state)
        method.load_state_dict(state.best)
    method.begin_stage(stages[-1])  # where all stages were done before
    return state


def fit_stage(training: Training, stage: Stage, state: Fit) -> None:
    """Train one stage from where the state stands, and leave the state at the next one."""
    method, config, checkpoint = training.method, training.config, training.checkpoint
    stepper = Stepper(method, stage, training.train.device, config.clip, training.bfloat16)
    load_optimiser(stepper.optimiser, state.optimiser)
    state.model, state.optimiser = {}, {}
    sampler = EpochSampler(training.train.labels, stage.sampler)
    for epoch in range(state.epoch, stage.epochs):
        stepper.set_rate(rate_at(stage, epoch))
        draws = sampler.draw(training.seed, state.stage, epoch)
        generator = seeded(training.seed, state.stage, epoch, training.train.device)
        loss = train_epoch(stepper, training.train, draws, generator, epoch, config)
        score_epoch(training, stage, epoch, loss, state)
        state.epoch = epoch + 1
        if state.epoch < stage.epochs and checkpoint is not None and checkpoint.due():
            state.model, state.optimiser = snapshot(method), optimiser_tensors(stepper.optimiser)
            checkpoint.save(state)
            state.model, state.optimiser = {}, {}
    state.last = snapshot(method)
    state.stages.append(StageResult(stage.name, stage.epochs, state.best_epoch, state.best_map))
    state.warnings += alarms(method, stage, state.diagnostics) + setback(state.stages)
    state.stage, state.epoch, state.best_epoch, state.best_map = state.stage + 1, 0, -1, 0.0
    if checkpoint is not None:
        checkpoint.save(state)


def score_epoch(training: Training, stage: Stage, epoch: int, loss: float, state: Fit) -> None:
    """Score val after an epoch, log it, and keep the network where it is the best so far."""
    method, config = training.method, training.config
    found = predict_scores(method, training.val, config.batch)
    # Scored once: every rank's threads would sort the same numbers on the same cores.
    scores = distributed.from_first(training.val_scores(found) if distributed.rank() == 0 else {})
    state.diagnostics = diagnose(method, stage, training.train, config, training.seed)
    lr = rate_at(stage, epoch)
    point = CurvePoint(stage.name, epoch, lr, loss, scores, state.diagnostics)
    state.curve.append(point)
    training.log(point)
    overall = scores["overall"] or 0.0
    if state.best_epoch < 0 or overall > state.best_map:
        state.best_epoch, state.best_map = epoch, overall
        state.best = snapshot(method)


def resume(training: Training) -> Fit:
    """Where to begin: at the checkpoint, with its network in place, or at the beginning.

    Raises:
        DataError: The checkpoint is damaged, or of another network.
    """
    checkpoint = training.checkpoint
    if checkpoint is None:
        return Fit()
    state = checkpoint.load()
    if state is None:
        return Fit(made_with=checkpoint.made_with)
    try:
        training.method.load_state_dict(state.model or state.best)
    except RuntimeError as error:
        raise checkpoint.damaged(error) from error
    if state.made_with != checkpoint.made_with:
        state.warnings.append(
            f"The first {len(state.curve)} epochs were computed with {state.made_with}, the rest "
            f"with {checkpoint.made_with}: neither alone gives these numbers"
        )
        state.made_with = checkpoint.made_with
    return state


def rate_at(stage: Stage, epoch: int) -> float:
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


def snapshot(method: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers, in host memory."""
    return {name: value.detach().cpu().clone() for name, value in method.state_dict().items()}
