"""Video: which frames of a video are taken, and decoding them as pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meid_bench.errors import DataError, unknown

# Called with the number of a distinct frame, 0, 1, ..., and the frame, (H, W, 3) uint8 RGB.
Keep = Callable[[int, NDArray[np.uint8]], None]


def frame_indices(num_frames: int, wanted: int) -> NDArray[np.int64]:
    """The centres of `wanted` equal segments of a video.

        n = 10, T = 3:   0 1 2 3 | 4 5 6 | 7 8 9      floor((i + 0.5) * n / T)
                           ^         ^       ^         = 1, 5, 8

    Computed in integers: by floats, one clip in eight is off by one.

    Args:
        num_frames: n >= 1, frames that really decode.
        wanted: T >= 1; more than n repeats frames.

    Returns:
        (T,) int64, ascending, in [0, n).

    Raises:
        ValueError: n or T is below 1.
    """
    if num_frames < 1 or wanted < 1:
        raise ValueError(f"frames and wanted must be at least 1, not {num_frames} and {wanted}")
    return (2 * np.arange(wanted, dtype=np.int64) + 1) * num_frames // (2 * wanted)


@dataclass(frozen=True, eq=False)
class DecodedFrames:
    """Which frames were taken of a video, and when they are.

    Attributes:
        index: (T,) int64, ascending, which of the decoded frames each one is.
        time: (T,) float64, seconds from the first decoded frame.
        num_frames: Frames that really decode, n.
        num_damaged: Frames that the decoder flagged as damaged or could not decode.
    """

    index: NDArray[np.int64]
    time: NDArray[np.float64]
    num_frames: int
    num_damaged: int

    @property
    def distinct(self) -> NDArray[np.int64]:
        """(m,) int64: the frames taken, each once; `Keep` was called for these, in order."""
        return np.unique(self.index)

    @property
    def rows(self) -> NDArray[np.int64]:
        """(T,) int64 in [0, m): which of the distinct frames each one is."""
        return np.searchsorted(self.distinct, self.index)


# Of video files, and of folders of jpgs.
DECODERS = ("pyav", "decord", "torchcodec")
JPG_DECODER = "pillow"


def decode_video(
    path: Path, wanted: int, keep: Keep, *, decoder: str = "pyav", sequential: bool = False
) -> DecodedFrames:
    """Decode `wanted` frames of a video and hand each distinct one to `keep`.

    Args:
        path: The file, or the folder of jpgs.
        wanted: T.
        keep: Called for each distinct frame, possibly more than once and out of order: the last
            call for a number counts.
        decoder: One of DECODERS, or JPG_DECODER for a folder of jpgs.
        sequential: Have PyAV decode every frame in turn: slow and sure. The others have no such
            mode, and one store never mixes decoders.

    Raises:
        DataError: The video cannot be read; the message is the reason alone.
    """
    if decoder == JPG_DECODER:
        from meid_bench.extraction.jpg_decoder import decode as decode_jpgs

        return decode_jpgs(path, wanted, keep)
    if path.is_dir():
        raise DataError(f"{path.name} is a folder, not a video file")
    if decoder == "pyav":
        from meid_bench.extraction.pyav_decoder import decode

        return decode(path, wanted, keep, sequential=sequential)
    if decoder == "decord":
        from meid_bench.extraction.other_decoders import decode_decord

        return decode_decord(path, wanted, keep)
    if decoder == "torchcodec":
        from meid_bench.extraction.other_decoders import decode_torchcodec

        return decode_torchcodec(path, wanted, keep)
    raise unknown("decoder", decoder, DECODERS)


def decoder_version(decoder: str) -> str:
    """Version of a decoder and its codecs, part of the feature fingerprint.

    Raises:
        MeidBenchError: The decoder is unknown, or cannot be loaded on this machine.
    """
    if decoder == "pyav":
        import av

        codec = ".".join(map(str, av.library_versions["libavcodec"]))
        return f"av {av.__version__}, libavcodec {codec}"
    if decoder == JPG_DECODER:
        import PIL
        from PIL import features

        turbo = features.version("libjpeg_turbo")
        codec = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"
        return f"pillow {PIL.__version__}, {codec}"
    if decoder not in DECODERS:
        raise unknown("decoder", decoder, DECODERS)
    from meid_bench.extraction import other_decoders

    try:
        return other_decoders.version(decoder)
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"Decoder {decoder} cannot be loaded on this machine ({reason}); "
            "install it, or use --decoder pyav"
        ) from error
