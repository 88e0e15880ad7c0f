"""Decode with PyAV: skip frames that are not needed where that is safe, else decode each."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging
import numpy as np
from av.filter import Graph
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from meid_bench.errors import DataError
from meid_bench.features.frames import DecodedFrames, FrameRule, Keep, centres

# What must be missing at the end of a stream that was cut off; headers round by less.
CUT_SECONDS, CUT_SHARE = 0.5, 0.1
# Codecs with temporal layers: a non-reference frame of one layer is a reference of the next.
LAYERED_CODECS = {"hevc", "vvc"}
MATROSKA_DURATION = re.compile(r"(\d{1,9}):(\d{1,9}):(\d{1,9}(?:\.\d*)?)")
PASSES = 3
# Containers of pictures and of short animations, and the brands of pictures.
PICTURES = {"gif", "apng", "ico", "image2", "avif", "heic", "heix", "heim", "heis", "mif1", "miaf"}


class _UnsafeSkipError(Exception):
    """Frames of this file cannot be skipped."""


def decode(path: Path, rule: FrameRule, keep: Keep, *, sequential: bool = False) -> DecodedFrames:
    """Decode a rule's frames of a video; see `meid_bench.features.decoders.decode_video`.

    Frames that are neither wanted nor referred to are skipped. Where a timestamp is missing or
    repeated, a frame is damaged, or a wanted one does not come, and with `sequential`, every frame
    is decoded instead.
    """
    packets, timestamps = _scan(path)
    if not sequential and timestamps is not None:
        with suppress(_UnsafeSkipError):
            return _decode_needed(path, timestamps, rule, keep)
    return _decode_all(path, packets, rule, keep)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and FFmpeg's best video stream, decoding in one thread."""
    if not path.is_file():
        raise DataError(f"there is no file {path.name}")
    if not path.stat().st_size:
        raise DataError("the file is empty")
    try:
        # A playlist must not reach the network.
        container = av.open(
            os.fspath(path), options={"protocol_whitelist": "file"}, metadata_errors="replace"
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"no video file, or cut off ({_reason(error)})") from error
    with container:
        stream = container.streams.best("video")
        if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
            kinds = sorted({stream.type for stream in container.streams})
            raise DataError(f"no video stream, only {', '.join(kinds)}" if kinds else "no stream")
        if stream.codec_context is None:
            raise DataError("its codec is unknown to this FFmpeg")
        stream.codec_context.thread_count = 1
        yield container, stream


def _scan(path: Path) -> tuple[int, list[int] | None]:
    """How many packets should give a frame, and their sorted timestamps; None if unreliable."""
    shown: list[int | None] = []
    corrupt = False  # the last packet
    sound = True
    end = 0
    with _opened(path) as (container, stream):
        for packet in _packets(container, stream):
            corrupt = packet.is_corrupt
            sound = sound and not corrupt
            if not packet.is_discard:
                shown.append(packet.pts)
                start = packet.dts if packet.pts is None else packet.pts
                end = max(end, (start or 0) + (packet.duration or 0))
        if corrupt:
            raise DataError("the file is cut off: its last packet is incomplete")
        _refuse_cut(stream, end)
        if len(shown) == 1:
            _refuse_picture(container)
        layered = stream.codec_context.name in LAYERED_CODECS
    known = sorted(pts for pts in shown if pts is not None)
    reliable = len(set(known)) == len(shown) and bool(shown) and sound and not layered
    return len(shown), known if reliable else None


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream, without the empty one that ends it."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"the file is cut off or damaged ({_reason(error)})") from error


def _refuse_picture(container: Any) -> None:
    """Refuse a picture of one frame that has a video's name."""
    for kind in (container.format.name, container.metadata.get("major_brand", "")):
        if kind in PICTURES or kind.endswith("_pipe"):
            raise DataError(f"a still picture ({kind.removesuffix('_pipe')}), no video")


def _refuse_cut(stream: Any, end: int) -> None:
    """Refuse a file that ends long before its header says."""
    if stream.duration is not None:
        promised = float(stream.duration * stream.time_base)
    elif tag := MATROSKA_DURATION.fullmatch(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = tag.groups()
        promised = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    else:
        return
    # Some containers lack the last frame's duration.
    last = 1 / float(stream.average_rate or 25)
    found = float((end - (stream.start_time or 0)) * stream.time_base)
    if end > 0 and promised - found - last > max(CUT_SECONDS, CUT_SHARE * promised):
        raise DataError(f"the file is cut off: it ends at {found:.1f} of {promised:.1f} seconds")


class _Frames:
    """Converts decoded frames to upright RGB arrays.

    Frames of more than 8 bits go through a filter graph, as in the program `ffmpeg`: it knows the
    position of chroma samples. For 8 bits the plain converter gives the same numbers.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._graph: Graph | None = None
        self._graph_of: dict[str, str] = {}

    def rgb(self, frame: Any) -> NDArray[np.uint8]:
        """One frame, (H, W, 3) uint8, rotated as its metadata say."""
        if frame.format.components[0].bits > 8:
            converted = self._filtered(frame)
        else:
            converted = self._reformatter.reformat(frame, format="rgb24", threads=1)
        pixels: NDArray[Any] = converted.to_ndarray()
        return np.rot90(pixels, round(frame.rotation / 90))

    def _filtered(self, frame: Any) -> Any:
        kind = {
            "video_size": f"{frame.width}x{frame.height}",
            "pix_fmt": frame.format.name,
            "colorspace": str(int(frame.colorspace)),
            "range": str(int(frame.color_range)),
            "time_base": "1/1000",
        }
        if self._graph is None or kind != self._graph_of:
            self._graph, self._graph_of = Graph(), kind
            self._graph.threads = 1
            self._graph.link_nodes(
                self._graph.add("buffer", **kind),
                self._graph.add("format", "rgb24"),
                self._graph.add("buffersink"),
            ).configure()
        self._graph.push(frame)
        return self._graph.pull()


def _decode_needed(path: Path, timestamps: list[int], rule: FrameRule, keep: Keep) -> DecodedFrames:
    clips = rule.clips(len(timestamps))
    numbers = {timestamps[frame]: number for number, frame in enumerate(np.unique(clips))}
    missing = set(numbers)
    frames = _Frames()
    with _opened(path) as (container, stream):
        codec = stream.codec_context
        skipping = False
        for packet in chain(_packets(container, stream), [None]):
            skip = packet is not None and packet.pts not in numbers
            if skip != skipping:
                codec.skip_frame = "NONREF" if skip else "DEFAULT"
                skipping = skip
            try:
                decoded = codec.decode(packet)
            except av.error.FFmpegError as error:
                raise _UnsafeSkipError from error
            for frame in decoded:
                if frame.is_corrupt:
                    raise _UnsafeSkipError
                if frame.pts in missing:
                    missing.discard(frame.pts)
                    keep(numbers[frame.pts], frames.rgb(frame))
        if missing:
            raise _UnsafeSkipError
        base = float(stream.time_base)
    times = _seconds(timestamps, base)[centres(clips)]
    return DecodedFrames(clips, times, len(timestamps), 0)


def _seconds(ticks: list[int], time_base: float) -> NDArray[np.float64]:
    """Timestamps as seconds from the first."""
    return (np.asarray(ticks, dtype=np.int64) - ticks[0]).astype(np.float64) * time_base


def _decode_all(path: Path, guess: int, rule: FrameRule, keep: Keep) -> DecodedFrames:
    """Decode every frame; again where there are not as many as guessed: n decides which to keep."""
    for _ in range(PASSES):
        clips = rule.clips(max(guess, 1))
        times, damaged = _decode_in_turn(path, clips, keep)
        if len(times) == guess:
            return DecodedFrames(clips, times[centres(clips)], guess, damaged)
        guess = len(times)
    raise DataError(f"decodes to another number of frames each time, last {guess}")


def _decode_in_turn(
    path: Path, clips: NDArray[np.int64], keep: Keep
) -> tuple[NDArray[np.float64], int]:
    """Decode every frame and keep those of `clips`; each one's time, and how many are damaged."""
    numbers = {int(frame): number for number, frame in enumerate(np.unique(clips))}
    frames = _Frames()
    ticks: list[int] = []
    damaged, reason = 0, ""
    with _opened(path) as (container, stream):
        base = float(stream.time_base)
        interval = round(1 / (stream.average_rate or 25) / stream.time_base)
        for packet in chain(_packets(container, stream), [None]):
            try:
                decoded = stream.codec_context.decode(packet)
            except av.error.FFmpegError as error:
                damaged += 1
                reason = reason or f" ({_reason(error)})"
                continue
            for frame in decoded:
                damaged += bool(frame.is_corrupt)
                if len(ticks) in numbers:
                    keep(numbers[len(ticks)], frames.rgb(frame))
                after = ticks[-1] + interval if ticks else 0
                ticks.append(after if frame.pts is None else frame.pts)
    if not ticks:
        raise DataError(f"no frame can be decoded{reason}")
    return _seconds(ticks, base), damaged


def _reason(error: Exception) -> str:
    """FFmpeg's log line where there is one, else its error message."""
    log = getattr(error, "log", None)
    text = log[2] if log else getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")
