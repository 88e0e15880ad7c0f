"""Networks: an encoder's model with its weights, from torchvision, from a file, or from a seed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import nn
from torchvision import models
from torchvision.models.resnet import Bottleneck

from meid_bench.errors import DataError, SettingError, first_line, unknown

DEFAULT = "IMAGENET1K_V1"
RANDOM = "random:"
# TSM-ResNet-50: each block shifts 1 / FOLD of the channels by a frame each way, in a SEGMENT.
TSM, SEGMENT, FOLD = "tsm_resnet50", 8, 8


def torchvision_weights(encoder: str, name: str) -> Any:
    """Torchvision's entry of a weight file; of the encoder's DEFAULT where it lacks ours.

    Raises:
        SettingError: The encoder has none of that name.
    """
    entries = models.get_model_weights(encoder)
    if name == DEFAULT and name not in entries.__members__:
        name = "DEFAULT"
    if name not in entries.__members__:
        raise unknown(f"set of {encoder} weights", name, list(entries.__members__))
    return entries[name]


def pretrained_model(encoder: str, entry: Any) -> nn.Module:
    """A model with torchvision weights, downloaded or from its cache under TORCH_HOME.

    Raises:
        DataError: The weights cannot be downloaded.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    name = entry.url.rsplit("/", 1)[-1]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Ranks of one machine share the cache: one of them downloads.
        with FileLock(folder / f".{name}.lock"):
            model: nn.Module = models.get_model(encoder, weights=entry)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise DataError(
            f"Cannot download the weights {name} from {entry.url} ({first_line(error)}); put that "
            f"file into {folder}, name a file with --weights FILE, or take --weights random:SEED "
            "(untrained)"
        ) from error
    return model


def load_file(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors by name from a file, .safetensors or of torch.save; only tensors are unpickled.

    An official TSM checkpoint's `module.base_model.layer1.0.conv1.net.weight` is renamed to this
    model's `layer1.0.conv1.net.weight`, and its classifier, `new_fc`, left out.

    Raises:
        DataError: The file is missing or holds no tensors by name.
    """
    if not path.is_file():
        raise DataError(
            f"There are no weights at {path}; expected a file, a name of torchvision's "
            f"such as {DEFAULT}, or random:SEED"
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


def empty_model(name: str) -> nn.Module:
    """A model of that name, untrained.

    Residual networks begin with zeroed residual branches: by torch's default, activations
    overflow float16.
    """
    if name == TSM:
        return tsm_resnet50()
    residual = models.get_model_builder(name).__module__ == models.resnet.__name__
    options = {"zero_init_residual": True} if residual else {}
    model: nn.Module = models.get_model(name, weights=None, **options)
    return model


def fill(model: nn.Module, state: Mapping[str, torch.Tensor], head: str, source: str) -> None:
    """Load tensors into a model, all but those of its classifier `head`.

    Raises:
        DataError: Names or shapes are not the model's.
    """
    prefix = f"{head}."
    state = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    own = model.state_dict()
    needed = {name for name in own if not name.startswith(prefix)}
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


def random_model(name: str, seed: int) -> nn.Module:
    """An untrained model, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return empty_model(name)


def tensors_sha256(model: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of a model's tensors, hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def temporal_shift(x: torch.Tensor) -> torch.Tensor:
    """Move an eighth of the channels one frame back in time and an eighth one frame ahead.

    Args:
        x: (segments * 8, C, H, W), the frames of each segment in turn.

    Returns:
        The same shape: channels [0, C // 8) of frame t are those of t + 1, the next C // 8 those
        of t - 1, zeros at a segment's ends; the rest stay.

    Reference:
        Lin, Gan, Han: TSM, ICCV 2019, bi-directional residual shift; mit-han-lab
        temporal-shift-module, ops/temporal_shift.py, n_div = 8.
    """
    part = x.shape[1] // FOLD
    frames = x.unflatten(0, (-1, SEGMENT))  # type: ignore[no-untyped-call]
    back, ahead, rest = frames[:, :, :part], frames[:, :, part : 2 * part], frames[:, :, 2 * part :]
    nothing = torch.zeros_like(back[:, :1])
    # Not in place: torch.fx traces it.
    back = torch.cat([back[:, 1:], nothing], dim=1)
    ahead = torch.cat([nothing, ahead[:, :-1]], dim=1)
    return torch.cat([back, ahead, rest], dim=2).flatten(0, 1)


class Shifted(nn.Module):
    """A convolution that first shifts its input in time."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve the shifted frames, (segments * 8, C, H, W)."""
        out: torch.Tensor = self.net(temporal_shift(x))
        return out


def tsm_resnet50() -> nn.Module:
    """ResNet-50 with the shift in front of each block's first convolution."""
    model: nn.Module = models.resnet50(weights=None, zero_init_residual=True)
    for block in [module for module in model.modules() if isinstance(module, Bottleneck)]:
        block.conv1 = Shifted(block.conv1)
    return model
