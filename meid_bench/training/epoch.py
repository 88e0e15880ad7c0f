"""One epoch of training: batches, steps, and the training videos' AP."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from meid_bench import distributed
from meid_bench.errors import MethodError
from meid_bench.methods.batch_part import BatchPart, size_of_whole
from meid_bench.methods.method import Batch, Method, Stage
from meid_bench.methods.samplers import Draws, batches
from meid_bench.methods.settings import RunnerConfig
from meid_bench.methods.trainable import select_trainable, training_mode
from meid_bench.training.data import Examples, draw_frames
from meid_bench.training.scoring import device_average_precision

FUSED = ("cpu", "cuda")  # devices on which Adam is one kernel


class Stepper:
    """A stage's optimiser and how a batch's loss becomes one step of it.

    Args:
        method: Its stage has begun.
        stage: Which parameters to train.
        device: Where the method is.
        clip: Largest norm of the gradient.
        bfloat16: Whether matrix products are in bfloat16.

    Raises:
        MethodError: The stage trains nothing.
    """

    def __init__(
        self, method: Method, stage: Stage, device: torch.device, clip: float, bfloat16: bool
    ) -> None:
        self.method, self.stage, self.clip = method, stage, clip
        self.parameters = select_trainable(method, stage)
        self.optimiser = torch.optim.Adam(self.parameters, lr=stage.lr, fused=device.type in FUSED)
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)
        self._loss: nn.Module = _Loss(method, self.autocast)
        if distributed.size() > 1:
            # A loss may leave parameters out (necks at lambda 0), the same ones in every step.
            self._loss = DistributedDataParallel(self._loss, static_graph=True)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def step(self, batch: Batch, epoch: int) -> Tensor:
        """One step; returns this rank's share of the whole batch's loss, on the device."""
        # Ranks' parts differ in size; summed over ranks this is the mean over all videos.
        loss: Tensor = self._loss(batch, self.stage, epoch) * (len(batch) / size_of_whole(batch))
        # A rank without a video takes part in the sums; its own mean is 0 / 0.
        share = loss.detach() if len(batch) else loss.new_zeros(())
        self.optimiser.zero_grad(set_to_none=True)
        loss = loss * distributed.size()  # DistributedDataParallel takes the mean over ranks
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimiser.step()
        return share


class _Loss(nn.Module):
    """A method's loss as a module's forward, which is what DistributedDataParallel wraps."""

    def __init__(self, method: Method, autocast: torch.autocast) -> None:
        super().__init__()
        self.method = method
        self.autocast = autocast

    def forward(self, batch: Batch, stage: Stage, epoch: int) -> Tensor:
        """A float32 scalar."""
        with self.autocast:
            loss: Tensor = self.method.loss(batch, stage, epoch)
        if loss.ndim:
            raise MethodError(
                f"{type(self.method).__name__}.loss returned a tensor of shape "
                f"{tuple(loss.shape)}; expected a scalar"
            )
        return loss.float()


def train_epoch(
    stepper: Stepper,
    train: Examples,
    draws: Draws,
    generator: torch.Generator,
    epoch: int,
    config: RunnerConfig,
) -> float:
    """One pass over an epoch's draws; nothing in it waits for the device.

    Args:
        stepper: Of the stage.
        train: Training videos.
        draws: Which of them, in order.
        generator: Of this epoch's random numbers.
        epoch: From 0 within the stage.
        config: Videos a step, over all ranks, and which of their frames it sees.

    Returns:
        The mean loss over steps.

    Raises:
        MethodError: The loss is no scalar or not finite.
    """
    method, stage = stepper.method, stepper.stage
    wants_ap = type(method).end_epoch is not Method.end_epoch
    scores: list[Tensor] = []
    labels: list[Tensor] = []
    steps = batches(len(draws.index), config.batch)
    total = torch.zeros((), device=train.device)
    training_mode(method)
    for part in epoch_batches(train, draws, steps, generator, config):
        if wants_ap:
            method.eval()
            with torch.no_grad(), stepper.autocast:
                scores.append(method(part.features).float().sigmoid())
            labels.append(part.labels)
            training_mode(method)
        total += stepper.step(part, epoch)
    mean = float(distributed.summed(total)) / len(steps)
    if not np.isfinite(mean):
        raise MethodError(
            f"{type(method).__name__}: the loss is {mean} in stage {stage.name!r}, epoch {epoch}; "
            "try a lower learning rate (--set lr=...)"
        )
    if wants_ap:
        sizes = [distributed.slice_sizes(step.stop - step.start) for step in steps]
        counts = [sum(of_rank) for of_rank in zip(*sizes, strict=True)]
        everyone = (distributed.gathered(torch.cat(values), counts) for values in (scores, labels))
        method.end_epoch(stage, epoch, device_average_precision(*everyone))
    return mean


def seeded(seed: int, stage: int, epoch: int, device: torch.device) -> torch.Generator:
    """A generator for one epoch, the same on every rank; torch's own (dropout) differs by rank.

    Every epoch has its own seed, so that a resumed run draws the same numbers.
    """
    words = np.random.SeedSequence([seed, stage, epoch]).generate_state(2, np.uint64)
    torch.manual_seed((int(words[0]) >> 1) + distributed.rank())
    return torch.Generator(device).manual_seed(int(words[1]) >> 1)


def epoch_batches(
    train: Examples,
    draws: Draws,
    steps: list[slice],
    generator: torch.Generator,
    config: RunnerConfig,
) -> Iterator[Batch]:
    """This rank's part of each batch, with the frames that a step sees."""
    mine = [distributed.own_slice(step.stop - step.start) for step in steps]
    parts = [
        slice(step.start + own.start, step.start + own.stop)
        for step, own in zip(steps, mine, strict=True)
    ]
    picked = None if draws.picked is None else torch.from_numpy(draws.picked).to(train.device)
    values = train.batches(draws.index, parts)
    for step, part, (features, labels) in zip(steps, parts, values, strict=True):
        chosen = None if picked is None else picked[part]
        batch = Batch(features, labels, chosen, generator)
        if distributed.size() > 1:
            batch = BatchPart(features, labels, chosen, generator, step.stop - step.start)
        batch.features = draw_frames(batch, config)
        yield batch
