"""Model: what it takes to rebuild a trained method, beside its weights in a run's folder."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from meid_bench.codec import decode, read_json
from meid_bench.errors import DataError
from meid_bench.files import atomic, write_text
from meid_bench.methods.aggregators import AGGREGATOR_PREFIX, aggregator_maker, find_aggregator
from meid_bench.methods.layers import AggregatorConfig
from meid_bench.methods.method import Method, MethodConfig, Task
from meid_bench.methods.registry import find_method, find_network
from meid_bench.settings import restored, setting_names

WEIGHTS = "model.safetensors"
MODEL = "model.json"


@dataclass(frozen=True)
class Model:
    """How to build a method's network.

    Attributes:
        method: Registered name, or module:Class.
        aggregator: Its aggregator's name.
        network: "own", or "e1" where the loss runs on MEID's first expert's network.
        settings: Of the method and, as "aggregator.<name>", of the aggregator; others are ignored.
        task: What the method saw of its benchmark.
        classes: Class names, C of them.
        features: Fingerprint of the features that it was trained on.
    """

    method: str
    aggregator: str
    network: str
    settings: Mapping[str, Any]
    task: Task
    classes: tuple[str, ...]
    features: str


def build_method(model: Model) -> Method:
    """The method with fresh weights, drawn from torch's global seed."""
    config, aggregator = configs(model)
    make = aggregator_maker(model.aggregator, aggregator, model.task.frames)
    if model.network != "own":
        make = find_network(model.network)(make)
    return find_method(model.method)(model.task, config, make)


def configs(model: Model) -> tuple[MethodConfig, AggregatorConfig]:
    """The settings of the method and of its aggregator."""
    method, aggregator = find_method(model.method).Config, find_aggregator(model.aggregator).Config
    return (
        restored(method(), _own(model.settings, method, "")),
        restored(aggregator(), _own(model.settings, aggregator, AGGREGATOR_PREFIX)),
    )


def _own(settings: Mapping[str, Any], config: type, prefix: str) -> dict[str, Any]:
    names = setting_names(config)
    return {name: settings[prefix + name] for name in names if prefix + name in settings}


def save_model(model: Model, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write weights (without pickles) and description; each whole or not at all."""
    with atomic(folder / WEIGHTS) as temporary:
        save_file(dict(state), temporary)
    write_text(folder / MODEL, json.dumps(asdict(model), ensure_ascii=False, indent=1) + "\n")


def load_model(folder: Path, device: torch.device) -> tuple[Model, Method]:
    """The trained method of a run, in eval mode, as it was in its last stage.

    Raises:
        DataError: Files are missing, damaged, or of another network than they describe.
    """
    path = folder / MODEL
    try:
        model = decode(Model, read_json(path))
        state = load_file(folder / WEIGHTS, device=str(device))
    except FileNotFoundError as error:
        raise DataError(f"{error.filename or folder / WEIGHTS} is missing; run it again") from error
    except (ValueError, OSError, SafetensorError) as error:
        raise DataError(f"The model in {folder} is damaged ({error}); run it again") from error
    method = build_method(model).to(device)
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(
            f"The weights in {folder} do not fit {model.method}: {str(error).splitlines()[-1]}"
        ) from error
    method.begin_stage(method.stages()[-1])
    return model, method.eval()
