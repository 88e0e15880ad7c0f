"""Decoders: a video through the decoder of a name, and that decoder's version."""

from pathlib import Path

from meid_bench.errors import DataError, unknown
from meid_bench.features.frames import DecodedFrames, Keep

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
        from meid_bench.features.jpg_decoder import decode as decode_jpgs

        return decode_jpgs(path, wanted, keep)
    if path.is_dir():
        raise DataError(f"{path.name} is a folder, not a video file")
    if decoder == "pyav":
        from meid_bench.features.pyav_decoder import decode

        return decode(path, wanted, keep, sequential=sequential)
    if decoder == "decord":
        from meid_bench.features.other_decoders import decode_decord

        return decode_decord(path, wanted, keep)
    if decoder == "torchcodec":
        from meid_bench.features.other_decoders import decode_torchcodec

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
    from meid_bench.features import other_decoders

    try:
        return other_decoders.version(decoder)
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"Decoder {decoder} cannot be loaded on this machine ({reason}); "
            "install it, or use --decoder pyav"
        ) from error
