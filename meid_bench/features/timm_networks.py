"""Timm's image models up to their pooled output, with the transform of their own data config."""

import math
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from meid_bench.errors import DataError, SettingError, first_line, unknown
from meid_bench.features.encoder_model import MEASURED, EncoderModel, Listed, matching
from meid_bench.features.encoder_weights import (
    fill,
    is_file,
    load_file,
    random_seed,
    seeded,
    short_name,
)
from meid_bench.features.transform import PilTransform

FAMILY = "timm"


def names(pattern: str = "") -> list[Listed]:
    """The models with published weights whose name has `pattern`; widths where those are few."""
    timm = _timm()
    known = matching([f"{FAMILY}:{name}" for name in timm.list_pretrained()], pattern)
    measured = len({name.partition(".")[0] for name in known}) <= MEASURED
    return [_listed(timm, name, measured=measured) for name in known]


def load(name: str, weights: str | None = None) -> EncoderModel:
    """Load one of timm's models without its classifier.

    Args:
        name: As timm has it, "vit_base_patch16_224", or with the tag of published weights,
            "vit_base_patch16_224.augreg_in21k"; the tag decides the transform too.
        weights: A tag, a file, or "random:SEED"; where left out, the name's tag, or the one that
            timm takes for a name without.

    Raises:
        SettingError: There is no such name or tag, or the model has no pooled output, or takes no
            square pictures.
        DataError: The weights cannot be had, or are of another model.
    """
    timm = _timm()
    seed = random_seed(weights or "")
    published = seed is None and not is_file(weights or "")
    architecture, tag = _known(timm, name, weights if published else None)
    full = f"{architecture}.{tag}" if tag else architecture
    config = _data_config(timm, full)
    width = _width(timm, architecture, config["input_size"])
    if published:
        model = _pretrained(timm, full)
        own_name, own_weights = architecture, tag
    else:
        model = seeded(lambda: _empty(timm, full), seed or 0)
        if seed is None:
            _fill(model, Path(weights or ""))
        # The weights do not tell the transform, if the tag is not what timm takes.
        own_name = architecture if tag == _default_tag(timm, architecture) else full
        own_weights = short_name(weights or "")
    return EncoderModel(
        family=FAMILY,
        name=f"{FAMILY}:{own_name}",
        weights=own_weights,
        untrained=seed is not None,
        model=model,
        transform=_transform(config),
        width=width,
    )


def _timm() -> ModuleType:
    """The library, imported where it is needed: that takes seconds."""
    import timm

    return timm


def _known(timm: Any, name: str, weights: str | None) -> tuple[str, str]:
    """Architecture and tag of a name; the tag is `weights` where those are named."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = [*timm.list_models(), *timm.list_pretrained()]
        raise unknown("encoder", f"{FAMILY}:{name}", [f"{FAMILY}:{other}" for other in known])
    tag = weights or tag or _default_tag(timm, architecture)
    tags = [other.partition(".")[2] for other in timm.models.get_arch_pretrained_cfgs(architecture)]
    if tag and tag not in tags:
        raise unknown(f"set of {FAMILY}:{architecture} weights", tag, tags)
    return architecture, tag


def _default_tag(timm: Any, architecture: str) -> str:
    config = timm.get_pretrained_cfg(architecture)
    return "" if config is None else config.tag or ""


def _data_config(timm: Any, full: str) -> dict[str, Any]:
    """What timm's evaluation transform is made of, from the published config of a name."""
    config = timm.get_pretrained_cfg(full)
    found: dict[str, Any] = timm.data.resolve_data_config(
        pretrained_cfg=config.to_dict() if config else {"architecture": full}
    )
    _, height, width = found["input_size"]
    if height != width:
        raise SettingError(
            f"Encoder {FAMILY}:{full} takes pictures of {height} x {width}, this program makes "
            "square ones; choose another"
        )
    return found


def _transform(config: dict[str, Any]) -> PilTransform:
    """Timm's evaluation transform."""
    side = config["input_size"][-1]
    return PilTransform(
        resize=math.floor(side / config["crop_pct"]),
        crop=side,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        mode=config["crop_mode"],
    )


def _empty(timm: Any, full: str) -> nn.Module:
    """An untrained model without its classifier."""
    model: nn.Module = timm.create_model(full, pretrained=False, num_classes=0)
    return model


@lru_cache
def _width(timm: Any, full: str, size: tuple[int, ...]) -> int:
    """D, by running the model on no device, where neither its size nor its weights matter.

    Raises:
        SettingError: What comes out is not one vector a picture.
    """
    try:
        with torch.device("meta"), torch.inference_mode():
            output = _empty(timm, full).eval()(torch.empty(2, *size))
    except Exception as error:  # the model's own
        raise SettingError(
            f"Encoder {FAMILY}:{full} cannot be run on a picture of {size[1]} x {size[2]} "
            f"({first_line(error)}); choose another"
        ) from error
    shape = tuple(getattr(output, "shape", ()))
    if len(shape) != 2 or shape[0] != 2:
        what = f"{' x '.join(map(str, shape[1:]))} numbers" if shape else type(output).__name__
        raise SettingError(
            f"Encoder {FAMILY}:{full} has no pooled output: it makes {what} of a picture, expected "
            "one vector; choose another"
        )
    return int(shape[1])


def _pretrained(timm: Any, full: str) -> nn.Module:
    """A model with its published weights, from the hub's cache or downloaded by timm.

    Raises:
        SettingError: None are published.
        DataError: They cannot be had.
    """
    config = timm.get_pretrained_cfg(full)
    if config is None or not config.has_weights:
        raise SettingError(
            f"timm has no weights of {full}; name a file with --weights FILE, or take --weights "
            "random:SEED (untrained)"
        )
    try:
        model: nn.Module = timm.create_model(full, pretrained=True, num_classes=0)
    except Exception as error:  # of the hub's client, of HTTP, of a damaged file
        file, place = config.hf_hub_filename or "model.safetensors", config.hf_hub_id or config.url
        if not config.hf_hub_id:
            file = str(config.url).rsplit("/", 1)[-1]
        raise DataError(
            f"Cannot get the weights of {FAMILY}:{full} ({first_line(error)}); download {file} "
            f"from {place} on the Hugging Face hub and name it with --weights FILE, or take "
            "--weights random:SEED (untrained)"
        ) from error
    return model


def _fill(model: Any, path: Path) -> None:
    """Load a file of timm's, or one of the authors' that timm knows how to rename."""
    state, heads = load_file(path), model.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    if set(state) != set(model.state_dict()):
        rename = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
        try:
            state = rename(state, model) if rename else state
        except Exception as error:  # it looks for names that only its own checkpoints have
            raise DataError(
                f"The weights {path} are none of this encoder's: timm cannot convert its "
                f"{len(state)} tensors, the first of them {next(iter(state), '')!r} "
                f"({first_line(error)}); are they of another encoder?"
            ) from error
    fill(model, state, heads, str(path))


def _listed(timm: Any, name: str, *, measured: bool) -> Listed:
    full = name.removeprefix(f"{FAMILY}:")
    size = timm.get_pretrained_cfg(full).input_size
    width = None
    if measured:
        with suppress(SettingError):
            width = _width(timm, full.partition(".")[0], size)
    return Listed(name, FAMILY, width, size[-1])
