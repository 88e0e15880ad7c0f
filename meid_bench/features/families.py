"""Families of encoders: which library a name's prefix means, and what can be had of each."""

from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType

from meid_bench.errors import SettingError, unknown
from meid_bench.features import (
    image_networks,
    timm_networks,
    transformers_networks,
    video_networks,
)
from meid_bench.features.encoder_model import EncoderModel, Listed


@dataclass(frozen=True)
class Family:
    """Encoders of one library.

    Attributes:
        networks: The module with `names(pattern)` and `load(name, weights)`.
        library: What must be installed.
    """

    networks: ModuleType
    library: str

    @property
    def installed(self) -> bool:
        """Whether the library is there; nothing is imported."""
        return find_spec(self.library) is not None

    @property
    def install_line(self) -> str:
        """How to get the library: the extra of this project that has its name."""
        return f"pip install -e '.[{self.library}]'"


# By what stands before the colon of a name; nothing for torchvision's image classifiers.
FAMILIES = {
    "": Family(image_networks, "torchvision"),
    "torchvision": Family(video_networks, "torchvision"),
    "timm": Family(timm_networks, "timm"),
    "transformers": Family(transformers_networks, "transformers"),
}


def load_model(name: str, weights: str | None = None) -> EncoderModel:
    """Load an encoder's network from the family that its prefix names.

    Args:
        name: "resnet101", "timm:vit_base_patch16_224", ...
        weights: A name of the library's, a file, or "random:SEED"; its default where left out.

    Raises:
        MeidBenchError: Prefix or name is unknown, the library is not installed, or the weights
            cannot be had.
    """
    prefix, colon, rest = name.partition(":")
    if not colon:
        prefix, rest = "", name
    if prefix not in FAMILIES or (colon and not prefix):
        known = [f"{other}:" for other in FAMILIES if other]
        raise unknown("family of encoders", f"{prefix}:", known)
    family = FAMILIES[prefix]
    if not family.installed:
        raise SettingError(
            f"Encoder {name} needs {family.library}, which is not installed; "
            f"`{family.install_line}` in a clone of meid-bench gets it"
        )
    model: EncoderModel = family.networks.load(rest, weights)
    return model


def list_encoders(pattern: str = "") -> list[Listed]:
    """The encoders whose name has `pattern`, of every family that can be asked here.

    Raises:
        SettingError: There is none.
    """
    lines: list[Listed] = []
    for family in FAMILIES.values():
        with suppress(ImportError):  # without its library, a family may not know its names
            lines += family.networks.names(pattern)
    if not lines:
        missing = [f"`{f.install_line}`" for f in FAMILIES.values() if not f.installed]
        more = f"; more come with {' or '.join(missing)}" if missing else ""
        raise SettingError(f"No encoder has {pattern!r} in its name{more}")
    return lines
