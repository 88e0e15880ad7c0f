"""Room: train with features where they fit, and say what would fit where nothing does."""

from collections.abc import Callable
from typing import TypeVar

import torch

from meid_bench import distributed as ranks
from meid_bench.errors import SettingError
from meid_bench.methods.method import Batch, Method
from meid_bench.methods.trainable import training_mode
from meid_bench.training.cache import Cache, CacheMode, choose_cache
from meid_bench.training.data import Examples
from meid_bench.training.epoch import Stepper

T = TypeVar("T")


def with_room(
    work: Callable[[Cache], T],
    mode: CacheMode,
    needed: int,
    device: torch.device,
    processes: int = 1,
) -> T:
    """Do `work` with features in the first cache that holds them.

    Where memory runs out after all, "auto" goes on to the next mode; training resumes there.

    Args:
        work: Loads features where the cache says, and trains.
        mode: What the user asks for.
        needed: Bytes of all features.
        device: Where the network is.
        processes: How many processes of this run share the machine's memory.

    Raises:
        SettingError: There is no room where the user asked for it.
    """
    full = None
    while True:
        cache = choose_cache(mode, needed, device, processes, full)
        try:
            return work(cache)
        except torch.OutOfMemoryError as error:
            # Ranks must not part ways: what one has no room for, the others would wait for.
            if mode != "auto" or cache.mode != "device" or ranks.size() > 1:
                raise SettingError(
                    f"{device} has no room for the features beside the network ({cache.reason}); "
                    "use --cache host"
                ) from error
        except MemoryError as error:
            if mode != "auto" or cache.mode == "stream":
                raise SettingError(
                    f"There is no room for the features in main memory ({cache.reason}); "
                    "use --cache stream"
                ) from error
        full = cache.mode
        if device.type == "cuda":
            torch.cuda.empty_cache()


def no_room(batch: int, fitting: int | None, device: torch.device) -> SettingError:
    """The sentence for a step that does not fit; `fitting` is None where nobody tried."""
    if fitting is None:
        advice = "use a smaller --set batch=N, or more ranks"
    elif fitting:
        advice = f"a batch of {fitting} fits: use --set batch={fitting}"
    else:
        advice = "not even one video fits: use a smaller aggregator or another device"
    return SettingError(f"{device} has no room for a step with batch {batch}; {advice}")


def fitting_batch(
    build: Callable[[], Method], examples: Examples, batch: int, frames: int | None, bfloat16: bool
) -> int:
    """The largest half, quarter, ... of `batch` of which every stage's step fits; 0 for none.

    Args:
        build: Gives the method, on the device of the examples.
        examples: Training videos, of which only the shapes count.
        batch: What did not fit.
        frames: How many frames of a video a step sees; None for all.
        bfloat16: Whether matrix products are in bfloat16.
    """
    batch //= 2
    while batch:
        try:
            _try_steps(build(), examples, batch, frames, bfloat16)
            return batch
        except torch.OutOfMemoryError:
            batch //= 2
        if examples.device.type == "cuda":
            torch.cuda.empty_cache()
    return 0


def _try_steps(
    method: Method, examples: Examples, batch: int, frames: int | None, bfloat16: bool
) -> None:
    device, (_, stored, width) = examples.device, examples.features.shape
    features = torch.zeros(batch, frames or stored, width, device=device)
    labels = torch.zeros(batch, examples.labels.shape[1], device=device)
    made_up = Batch(features, labels, None, torch.Generator(device))
    for stage in method.stages():
        method.begin_stage(stage)
        stepper = Stepper(method, stage, device, 1.0, bfloat16)
        training_mode(method)
        for _ in range(2):  # Adam's state comes with the first step
            stepper.step(made_up, 0)
