"""EncoderModel: a network with its weights, what it is shown, and what comes out of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from meid_bench.features.transform import Transform

# Of how many models a listing tells the width: each must be built for it, on no device.
MEASURED = 20


@dataclass(frozen=True)
class Clip:
    """Which frames a model sees together, and how many vectors it makes of them.

    An image model sees one frame and makes one vector. TSM sees 8 of the T frames and makes 8; a
    clip encoder sees `length` frames of the video around each of the T, and makes one vector.

    Attributes:
        length: Frames that the model sees together.
        stride: Frames of the video from one of these to the next.
        rows: Vectors that come out for one clip.
    """

    length: int = 1
    stride: int = 1
    rows: int = 1

    def __str__(self) -> str:
        """In words: "1 frame", "8 of the T frames", "16 frames, 4 apart"."""
        if self.length == 1:
            return "1 frame"
        if self.rows > 1:
            return f"{self.length} of the T frames"
        return f"{self.length} frames, {self.stride} apart"


@dataclass(eq=False)
class EncoderModel:
    """What a family of encoders loads: a network up to its pooled features, and how to feed it.

    Attributes:
        family: Whose it is, such as "torchvision" or "timm".
        name: Its name, as `--encoder` takes it.
        weights: Short name of the weights.
        untrained: The weights are random.
        model: (B * clip.length, 3, S, S) float, normalised -> (B * clip.rows, D).
        transform: From a frame to a picture to the model's input.
        width: D.
        clip: Which frames it sees together.
        pooling: How its vectors become one, in words; "" for an image model's own pooled output.
    """

    family: str
    name: str
    weights: str
    untrained: bool
    model: nn.Module
    transform: Transform
    width: int
    clip: Clip = Clip()
    pooling: str = ""


@dataclass(frozen=True)
class Listed:
    """A line of `extract --list`.

    Attributes:
        name: As `--encoder` takes it.
        family: Whose it is.
        width: D; None where only building the model would tell.
        size: Side of the input picture, S; None where only a download would tell.
        clip: Which frames it sees together.
    """

    name: str
    family: str
    width: int | None
    size: int | None
    clip: Clip = Clip()


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """The names that have `pattern` in them, where * and ? stand for anything, in any case, sorted.

    >>> matching(["resnet50", "swin_t", "wide_resnet50_2"], "resnet50")
    ['resnet50', 'wide_resnet50_2']
    """
    wanted = f"*{pattern.lower()}*"
    return sorted(name for name in names if fnmatchcase(name.lower(), wanted))
