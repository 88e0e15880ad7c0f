"""Decode with decord or torchcodec, where they are installed; the same frames are asked for."""

from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np

from meid_bench.errors import DataError
from meid_bench.features.frames import DecodedFrames, Keep, frame_indices

# Frames fetched at once: all 200 of a 1080p video would be 1.2 GB.
CHUNK = 16


def version(decoder: str) -> str:
    """Version of an installed decoder, after trying to load it."""
    if decoder == "decord":
        import decord  # noqa: F401
    else:
        import torchcodec.decoders  # noqa: F401
    return f"{decoder} {installed_version(decoder)}"


def decode_decord(path: Path, wanted: int, keep: Keep) -> DecodedFrames:
    """Decode with decord; see `meid_bench.features.decoders.decode_video`.

    Differs:
        n is what decord believes, not what decodes: with edit lists and discarded first
        keyframes its frames are silently others than they should be.
    """
    import decord

    _refuse_empty(path)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        index = frame_indices(len(reader), wanted)
        distinct = np.unique(index)
        for start in range(0, len(distinct), CHUNK):
            batch = reader.get_batch(distinct[start : start + CHUNK]).asnumpy()
            for number, frame in enumerate(batch, start):
                keep(number, frame)
        times = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    except (decord.DECORDError, RuntimeError, ValueError, IndexError) as error:
        raise DataError(f"decord cannot read it ({_first_line(error)})") from error
    return DecodedFrames(index, times[index].astype(np.float64) - times[0], len(reader), 0)


def decode_torchcodec(path: Path, wanted: int, keep: Keep) -> DecodedFrames:
    """Decode with torchcodec in its exact mode; see `meid_bench.features.decoders.decode_video`."""
    import torchcodec.decoders

    codecs: Any = torchcodec.decoders
    _refuse_empty(path)
    try:
        reader = codecs.VideoDecoder(
            str(path), seek_mode="exact", dimension_order="NHWC", num_ffmpeg_threads=1
        )
        index = frame_indices(len(reader), wanted)
        distinct = np.unique(index)
        seconds = np.empty(len(distinct))
        for start in range(0, len(distinct), CHUNK):
            numbers = distinct[start : start + CHUNK].tolist()
            batch = reader.get_frames_at(indices=numbers)
            seconds[start : start + len(numbers)] = batch.pts_seconds.numpy()
            for number, frame in enumerate(batch.data.numpy(), start):
                keep(number, frame)
        first = float(reader.get_frame_at(0).pts_seconds)
    except (RuntimeError, ValueError, IndexError) as error:
        raise DataError(f"torchcodec cannot read it ({_first_line(error)})") from error
    times = seconds[np.searchsorted(distinct, index)] - first
    return DecodedFrames(index, times, len(reader), 0)


def _refuse_empty(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"there is no file {path.name}")
    if not path.stat().st_size:
        raise DataError("the file is empty")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
