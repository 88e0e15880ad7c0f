"""Torchvision's image classifiers, and TSM-ResNet-50, up to what their last layer is shown."""

from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock
from torch import nn
from torchvision import models

from meid_bench.errors import DataError, SettingError, first_line, unknown
from meid_bench.features.encoder_model import MEASURED, Clip, EncoderModel, Listed, matching
from meid_bench.features.encoder_weights import (
    fill,
    is_file,
    load_file,
    random_seed,
    seeded,
    short_name,
)
from meid_bench.features.transform import Transform
from meid_bench.features.tsm import SEGMENT, TSM, tsm_resnet50

FAMILY = "torchvision"
DEFAULT = "IMAGENET1K_V1"


def names(pattern: str = "") -> list[Listed]:
    """The encoders whose name has `pattern`; their widths where those are few."""
    known = matching([*models.list_models(module=models), TSM], pattern)
    return [_listed(name, measured=len(known) <= MEASURED) for name in known]


def load(name: str, weights: str | None = None) -> EncoderModel:
    """Load an image classifier without its last layer.

    Args:
        name: One of `names`.
        weights: A name of torchvision's, a file, or "random:SEED"; DEFAULT where left out.

    Raises:
        MeidBenchError: The name is unknown, the weights cannot be had, or the model has no linear
            classifier.
    """
    known = [*models.list_models(module=models), TSM]
    if name not in known:
        raise unknown("encoder", name, known)
    weights = weights or DEFAULT
    seed = random_seed(weights)
    model, transform = _model(name, weights, seed)
    return EncoderModel(
        family=FAMILY,
        name=name,
        weights=short_name(weights),
        untrained=seed is not None,
        model=model,
        transform=transform,
        width=cut_head(model, name),
        clip=_clip(name),
    )


def _listed(name: str, *, measured: bool) -> Listed:
    if name == TSM:
        return Listed(name, FAMILY, 2048, Transform().crop, _clip(name))
    width = None
    if measured:
        with torch.device("meta"):
            model = models.get_model(name, weights=None)
        width = cut_head(model, name) if head_names(model) else None
    size = torchvision_weights(name, DEFAULT).transforms().crop_size[0]
    return Listed(name, FAMILY, width, size)


def _clip(name: str) -> Clip:
    return Clip(length=SEGMENT, rows=SEGMENT) if name == TSM else Clip()


def _model(name: str, weights: str, seed: int | None) -> tuple[nn.Module, Transform]:
    """The model with its weights and the transform that belongs to them."""
    if seed is not None or is_file(weights):
        # TSM's authors test with Transform's own values.
        preset = None if name == TSM else torchvision_weights(name, DEFAULT).transforms()
        transform = Transform() if preset is None else Transform.of(preset)
        if seed is not None:
            return seeded(lambda: empty_model(name), seed), transform
        model = empty_model(name)
        fill(model, load_file(Path(weights)), head_names(model)[-1:], weights)
        return model, transform
    if name == TSM:
        raise SettingError(
            f"torchvision has no weights of {TSM}; give the authors' checkpoint with "
            "--weights FILE, or --weights random:SEED (untrained)"
        )
    entry = torchvision_weights(name, weights)
    return pretrained_model(name, entry), Transform.of(entry.transforms())


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


def head_names(model: nn.Module) -> list[str]:
    """Names of the linear layers; the last one is the classifier."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def cut_head(model: nn.Module, name: str) -> int:
    """Replace the classifier by the identity; the width of its input.

    Raises:
        SettingError: There is no linear layer to take off.
    """
    linear = head_names(model)
    if not linear:
        raise SettingError(
            f"Encoder {name} has no linear classifier to take off; choose another, "
            "for example resnet101"
        )
    parent, _, leaf = linear[-1].rpartition(".")
    width = int(cast(nn.Linear, model.get_submodule(linear[-1])).in_features)
    model.get_submodule(parent).register_module(leaf, nn.Identity())
    return width
