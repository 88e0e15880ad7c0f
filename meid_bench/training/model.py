"""Model: what it takes to rebuild a trained method, beside its weights in a run's folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from meid_bench.codec import decode, read_json, write_json
from meid_bench.errors import DataError, MeidBenchError
from meid_bench.files import atomic
from meid_bench.methods.aggregators import aggregator_maker, find_aggregator
from meid_bench.methods.layers import AggregatorConfig
from meid_bench.methods.method import Method, MethodConfig, Stage, Task
from meid_bench.methods.registry import find_method, find_network
from meid_bench.methods.settings import Settings

WEIGHTS = "model.safetensors"
MODEL = "model.json"


@dataclass(frozen=True)
class Model:
    """How to build a method's network.

    Attributes:
        method: Registered name, or module:Class.
        network: "own", or "e1" where the loss runs on MEID's first expert's network.
        task: What the method saw of its benchmark.
        classes: Class names, C of them.
        features: Fingerprint of the features that it was trained on.
    """

    method: str
    aggregator: str
    network: str
    settings: Settings
    task: Task
    classes: tuple[str, ...]
    features: str


def build_method(model: Model) -> Method:
    """The method with fresh weights, drawn from torch's global seed."""
    make = aggregator_maker(model.aggregator, model.settings.aggregator, model.task.frames)
    if model.network != "own":
        make = find_network(model.network)(make)
    return find_method(model.method)(model.task, model.settings.method, make)


def stages_of(build: Callable[[], Method]) -> Sequence[Stage]:
    """A method's stages, without its weights where it can be built without them."""
    try:
        with torch.device("meta"):  # no memory, no time
            return build().stages()
    except MeidBenchError:
        raise
    except Exception:  # a method may read its own numbers, of which "meta" has none
        return build().stages()


def save_model(model: Model, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write weights (without pickles) and description; each whole or not at all."""
    with atomic(folder / WEIGHTS) as temporary:
        save_file(dict(state), temporary)
    write_json(folder / MODEL, model)


def load_model(folder: Path, device: torch.device) -> tuple[Model, Method]:
    """The trained method of a run, in eval mode, as it was in its last stage.

    Raises:
        DataError: Files are missing, damaged, or of another network than they describe.
    """
    try:
        data = read_json(folder / MODEL)
        classes: dict[type, type] = {
            MethodConfig: find_method(data["method"]).Config,
            AggregatorConfig: find_aggregator(data["aggregator"]).Config,
        }
        model = decode(Model, data, classes=classes)
        state = load_file(folder / WEIGHTS, device=str(device))
    except FileNotFoundError as error:
        raise DataError(f"{error.filename or folder / WEIGHTS} is missing; run it again") from error
    except (ValueError, TypeError, KeyError, OSError, SafetensorError) as error:
        raise DataError(f"The model in {folder} is damaged ({error}); run it again") from error
    try:
        method = build_method(model).to(device)
        method.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(
            f"The weights in {folder} do not fit {model.method}: {str(error).splitlines()[-1]}"
        ) from error
    method.begin_stage(method.stages()[-1])
    return model, method.eval()
