"""Decoders: a video through the decoder of a name, and that decoder's version."""

from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from meid_bench.errors import DataError, SettingError, first_line, unknown
from meid_bench.features.frames import DecodedFrames, FrameRule, Keep, centres

# Of video files, and of folders of jpgs.
GPU_DECODER = "torchcodec-cuda"
DECODERS = ("pyav", "decord", "torchcodec", GPU_DECODER)
JPG_DECODER = "pillow"
# Frames that decord and torchcodec fetch at once; 200 of a 1080p video are 1.2 GB.
CHUNK = 16


def decode_video(
    path: Path, rule: FrameRule, keep: Keep, *, decoder: str = "pyav", sequential: bool = False
) -> DecodedFrames:
    """Decode a rule's frames of a video and hand each distinct one to `keep`.

    Args:
        path: The file, or the folder of jpgs.
        rule: Which frames.
        keep: Called for each distinct frame, maybe again and out of order: the last call counts.
        decoder: One of DECODERS, as `placed` gives it, or JPG_DECODER for a folder of jpgs.
        sequential: Decode every frame; slower, and for PyAV only.

    Raises:
        DataError: The video cannot be read; the message is the reason alone.
    """
    if decoder == JPG_DECODER:
        from meid_bench.features.jpg_decoder import decode as decode_jpgs

        return decode_jpgs(path, rule, keep)
    if path.is_dir():
        raise DataError(f"{path.name} is a folder, not a video file")
    if decoder == "pyav":
        from meid_bench.features.pyav_decoder import decode

        return decode(path, rule, keep, sequential=sequential)
    if decoder == "decord":
        return _decode_decord(path, rule, keep)
    if decoder == "torchcodec":
        return _decode_torchcodec(path, rule, keep)
    if decoder.startswith(GPU_DECODER):
        return _decode_torchcodec(path, rule, keep, decoder.removeprefix("torchcodec-"))
    raise unknown("decoder", decoder, DECODERS)


def placed(decoder: str, device: torch.device) -> str:
    """A decoder with the GPU that it is to use, "torchcodec-cuda:1": the encoder's.

    Raises:
        SettingError: It decodes on a GPU, and the encoder is elsewhere.
    """
    if decoder != GPU_DECODER:
        return decoder
    if device.type != "cuda":
        raise SettingError(
            f"--decoder {GPU_DECODER} decodes on the GPU that encodes, and this run is on "
            f"{device}; name a GPU with --gpu N, or take --decoder torchcodec"
        )
    return f"{GPU_DECODER}:{device.index or 0}"


def decoder_version(decoder: str) -> str:
    """Version of a decoder and its codecs, as it stands in a store's provenance.

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
    try:
        if decoder == "decord":
            import decord  # noqa: F401
        else:
            import torchcodec.decoders
    except (ImportError, OSError, RuntimeError) as error:
        raise DataError(
            f"Decoder {decoder} cannot be loaded on this machine ({first_line(error)}); "
            "install it, or use --decoder pyav"
        ) from error
    library = decoder.removesuffix("-cuda")
    number = f"{library} {installed_version(library)}"
    if decoder != GPU_DECODER:
        return number
    if not hasattr(torchcodec.decoders.VideoDecoder, "cpu_fallback"):
        raise DataError(
            f"{number} does not say whether the GPU decodes; install a newer one, or use "
            "--decoder torchcodec"
        )
    return f"{number}, CUDA {torch.version.cuda}"


def _decode_decord(path: Path, rule: FrameRule, keep: Keep) -> DecodedFrames:
    """Decode with decord; see `decode_video`.

    Differs:
        n is decord's own count: with edit lists and discarded first keyframes it silently takes
        other frames.
    """
    import decord

    _refuse_empty(path)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        clips = rule.clips(len(reader))
        distinct = np.unique(clips)
        for start in range(0, len(distinct), CHUNK):
            batch = reader.get_batch(distinct[start : start + CHUNK]).asnumpy()
            for number, frame in enumerate(batch, start):
                keep(number, frame)
        times = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    except (decord.DECORDError, RuntimeError, ValueError, IndexError) as error:
        raise DataError(f"decord cannot read it ({first_line(error)})") from error
    seconds = times[centres(clips)].astype(np.float64) - times[0]
    return DecodedFrames(clips, seconds, len(reader), 0)


def _decode_torchcodec(
    path: Path, rule: FrameRule, keep: Keep, device: str = "cpu"
) -> DecodedFrames:
    """Decode with torchcodec in its exact mode; see `decode_video`.

    On a GPU, `keep` gets tensors there, which `Transform.picture` takes too. A video that the GPU
    cannot decode has failed: frames of two decoders never share a store.
    """
    import torchcodec.decoders

    codecs: Any = torchcodec.decoders
    _refuse_empty(path)
    try:
        reader = codecs.VideoDecoder(
            str(path),
            seek_mode="exact",
            dimension_order="NHWC",
            num_ffmpeg_threads=1,
            device=device,
        )
        clips = rule.clips(len(reader))
        distinct = np.unique(clips)
        seconds = np.empty(len(distinct))
        for start in range(0, len(distinct), CHUNK):
            numbers = distinct[start : start + CHUNK].tolist()
            batch = reader.get_frames_at(indices=numbers)
            seconds[start : start + len(numbers)] = batch.pts_seconds.numpy()
            if device != "cpu" and reader.cpu_fallback:  # known once a frame is decoded
                reason = " ".join(str(reader.cpu_fallback).split())
                raise DataError(f"the GPU cannot decode it ({reason})")
            frames = batch.data.numpy() if device == "cpu" else batch.data
            for number, frame in enumerate(frames, start):
                keep(number, frame)
        first = float(reader.get_frame_at(0).pts_seconds)
    except (RuntimeError, ValueError, IndexError) as error:
        raise DataError(f"torchcodec cannot read it ({first_line(error)})") from error
    times = seconds[np.searchsorted(distinct, centres(clips))] - first
    return DecodedFrames(clips, times, len(reader), 0)


def _refuse_empty(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"there is no file {path.name}")
    if not path.stat().st_size:
        raise DataError("the file is empty")
