"""Encoder weights: a file, or a random seed, into a network; and the sum that names them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from meid_bench.errors import DataError, SettingError, first_line

RANDOM = "random:"
SUFFIXES = (".pth", ".pt", ".tar", ".bin", ".safetensors")


def is_file(weights: str) -> bool:
    """Whether `--weights` names a file rather than published weights or a seed."""
    return Path(weights).suffix in SUFFIXES or "/" in weights


def short_name(weights: str) -> str:
    """The weights' name as it stands in a manifest: a file's without its folder and suffix."""
    return Path(weights).stem if is_file(weights) else weights


def random_seed(weights: str) -> int | None:
    """The seed in `random:SEED`; None for other weights.

    Raises:
        SettingError: SEED is no whole number.
    """
    if not weights.startswith(RANDOM):
        return None
    text = weights.removeprefix(RANDOM)
    if not text.isdecimal():
        raise SettingError(f"--weights {weights!r} has no seed; expected for example random:0")
    return int(text)


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """An untrained model, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def load_file(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors by name from a file, .safetensors or of torch.save; only tensors are unpickled.

    An official TSM checkpoint's `module.base_model.layer1.0.conv1.net.weight` is renamed to this
    model's `layer1.0.conv1.net.weight`, and its classifier, `new_fc`, left out.

    Raises:
        DataError: The file is missing or holds no tensors by name.
    """
    if not path.is_file():
        raise DataError(
            f"There are no weights at {path}; expected a file, the name of published weights, "
            "or random:SEED"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file as load_safetensors

            state: Any = load_safetensors(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes both libraries raise anything
        raise DataError(
            f"{path} holds no weights that can be read ({first_line(error)})"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        raise DataError(f"{path} holds {type(state).__name__}, expected tensors by name")
    names = {name.removeprefix("module.").removeprefix("base_model."): name for name in state}
    return {name: state[key] for name, key in names.items() if not name.startswith("new_fc")}


def fill(
    model: nn.Module, state: Mapping[str, torch.Tensor], heads: Sequence[str], source: str
) -> None:
    """Load tensors into a model, all but those of its classifiers, `heads`.

    Raises:
        DataError: Names or shapes are not the model's.
    """
    prefixes = tuple(f"{head}." for head in heads)
    state = {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}
    own = model.state_dict()
    needed = {name for name in own if not name.startswith(prefixes)}
    optional = {name for name in needed if name.endswith("num_batches_tracked")}
    missing = sorted(needed - optional - set(state))
    foreign = sorted(set(state) - needed)
    wrong = sorted(name for name in needed & set(state) if own[name].shape != state[name].shape)
    for names, problem in ((missing, "lack"), (foreign, "have unknown"), (wrong, "misshape")):
        if names:
            raise DataError(
                f"The weights {source} {problem} {len(names)} of the model's tensors, the first "
                f"is {names[0]!r}; are they of another encoder?"
            )
    model.load_state_dict(state, strict=False)


def tensors_sha256(model: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of a model's tensors, hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
