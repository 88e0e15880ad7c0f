"""Decode a folder of jpgs, one a frame, as in the official RGB release of Charades."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from meid_bench.benchmark.video_folder import JPG, is_jpg
from meid_bench.errors import DataError
from meid_bench.features.frames import DecodedFrames, FrameRule, Keep, centres

FRAMES_PER_SECOND = 24


def decode(path: Path, rule: FrameRule, keep: Keep) -> DecodedFrames:
    """Read a rule's frames of `<name>-000001.jpg`, `<name>-000002.jpg`, ... in folder `<name>`.

    Only these are opened. Of the others, a missing one fails the video, and an empty one counts
    as damaged.

    Args:
        path: The folder; frame k = 0, 1, ... is number k + 1, at k / 24 seconds.
        rule: Which frames.
        keep: As `meid_bench.features.decoders.decode_video` calls it.

    Raises:
        DataError: The folder is not a whole video, or a wanted jpg cannot be decoded or has
            another size than the first; the message is the reason alone.
    """
    if not path.is_dir():
        raise DataError(f"{path.name} is no folder of jpgs")
    sizes = _listed(path)
    names = _in_order(path.absolute().name, sizes)
    clips = rule.clips(len(names))
    first = ""
    for number, frame in enumerate(np.unique(clips)):
        name = names[frame]
        if not sizes[name]:
            raise DataError(f"{name} is empty")
        pixels = _read(path / name)
        if not first:
            first, shape = name, pixels.shape
        elif pixels.shape != shape:
            raise DataError(
                f"its jpgs have two sizes: {first} is {shape[1]} x {shape[0]} pixels, "
                f"{name} {pixels.shape[1]} x {pixels.shape[0]}"
            )
        keep(number, pixels)
    damaged = sum(not size for size in sizes.values())
    return DecodedFrames(clips, centres(clips) / FRAMES_PER_SECOND, len(names), damaged)


def _listed(path: Path) -> dict[str, int]:
    """Size in bytes of every jpg of a folder, sorted by name."""
    try:
        with os.scandir(path) as entries:
            found = {entry.name: entry.stat().st_size for entry in entries if is_jpg(entry.name)}
    except OSError as error:
        raise DataError(f"{Path(error.filename).name} cannot be read: {error.strerror}") from error
    return dict(sorted(found.items()))


def _in_order(video: str, files: Mapping[str, int]) -> list[str]:
    """The files of frames 1, 2, ..., of which none may be missing."""
    frames: dict[int, str] = {}
    for name in files:
        match = re.fullmatch(re.escape(video) + "-([0-9]{6})", name[: -len(JPG)])
        if not match:
            raise DataError(f"{name} is no frame of it; expected {video}-000001{JPG} and on")
        other = frames.setdefault(int(match[1]), name)
        if other != name:
            raise DataError(f"{other} and {name} are the same frame")
    if not frames:
        raise DataError(f"its folder holds no {video}-000001{JPG} and on")
    if 0 in frames:
        raise DataError(
            f"its jpgs are numbered from 0 ({frames[0]}), those of the official release from 1"
        )
    last = max(frames)
    if missing := [number for number in range(1, last + 1) if number not in frames]:
        others = f" and {len(missing) - 1} more of {last} are" if missing[1:] else " is"
        raise DataError(f"{video}-{missing[0]:06d}{JPG}{others} missing")
    return [frames[number] for number in range(1, last + 1)]


def _read(path: Path) -> NDArray[np.uint8]:
    """A jpg as (H, W, 3) uint8 RGB; its EXIF rotation is ignored."""
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            return np.array(image.convert("RGB"))  # asarray: read-only, which torch dislikes
    except UnidentifiedImageError as error:
        raise DataError(f"{path.name} is no jpg") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path.name} cannot be decoded: {reason}") from error
