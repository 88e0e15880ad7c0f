"""Videos made by the tests: sound ones, odd ones and broken ones, with what should come of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.io import write_jpeg

FRAMES = 24


def picture(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Frame `number`: a bright bar that moves over a slope, unlike every other frame."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 255 // width, y * 255 // height, (x + y + 9 * number) % 256], axis=-1)
    image[:, (number * 5) % width : (number * 5) % width + 3] = 255
    return image.astype(np.uint8)


def write_video(
    path: Path,
    frames: int = FRAMES,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    *,
    rate: int = 12,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    pts: Callable[[int], int] = lambda number: number,
    rotation: int = 0,
    offset: int = 0,
    streams: int = 1,
) -> Path:
    """Encode `frames` pictures into a file; `offset` moves the timestamps of packets back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    defaults = {"preset": "ultrafast", "bf": "2", "g": "12"} if codec == "libx264" else {}
    if codec == "libx265":
        defaults = {"preset": "ultrafast", "x265-params": "log-level=none"}
    with av.open(str(path), "w", options=container or {}) as out:
        made = []
        for number in range(streams):
            stream = out.add_stream(codec, rate=rate, options=defaults | (options or {}))
            # The second stream is the larger one: the one that a player shows.
            stream.width, stream.height = (side * (number + 1) for side in size)
            stream.pix_fmt = pix_fmt
            stream.codec_context.time_base = Fraction(1, rate)
            if rotation:
                stream.set_display_rotation(rotation)
            made.append(stream)
        for stream in made:
            for packet in encoded(stream, frames, pts):
                if offset:
                    packet.pts -= offset * round(1 / (packet.time_base * rate))
                    packet.dts -= offset * round(1 / (packet.time_base * rate))
                out.mux(packet)
    return path


def write_jpgs(
    folder: Path, frames: int = FRAMES, size: tuple[int, int] = (64, 48), first: int = 1
) -> Path:
    """The same pictures as jpgs `<folder>-000001.jpg` on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(frames):
        pixels = torch.from_numpy(picture(number, size)).permute(2, 0, 1)
        write_jpeg(pixels, str(folder / f"{folder.name}-{number + first:06d}.jpg"))
    return folder


def encoded(stream: av.VideoStream, frames: int, pts: Callable[[int], int]) -> Iterator[av.Packet]:
    """The packets of a stream."""
    context = stream.codec_context
    for number in range(frames):
        image = picture(number, (stream.width, stream.height))
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = pts(number), context.time_base
        yield from stream.encode(frame)
    yield from stream.encode(None)


def write_audio(path: Path) -> Path:
    """A second of silence, no picture."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        for start in range(0, 16000, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.rate, frame.pts = 16000, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def join(path: Path, *parts: Path) -> Path:
    """One file behind the other, as broadcasts are."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def flipped(path: Path, sound: Path, start: float, count: int, seed: int = 0) -> Path:
    """A copy with `count` bytes changed, all behind `start` of its length."""
    data = bytearray(sound.read_bytes())
    places = np.random.default_rng(seed).integers(int(start * len(data)), len(data), count)
    for place in places:
        data[place] ^= 0xFF
    path.write_bytes(bytes(data))
    return path


@dataclass(frozen=True)
class Odd:
    """A file of the zoo and its account.

    Attributes:
        path: The file.
        frames: How many decode; None where the video must fail.
        reason: Part of the reason where it must fail.
        damaged: Whether damaged frames must be counted.
        agree: Other decoders that take the very same frames.
    """

    path: Path
    frames: int | None = FRAMES
    reason: str = ""
    damaged: bool = False
    agree: tuple[str, ...] = ("decord", "torchcodec")


def make_zoo(folder: Path) -> dict[str, Odd]:
    """Every odd and broken file, by name."""
    cut_off = {"movflags": "faststart"}
    early = {"avoid_negative_ts": "disabled"}
    sound = write_video(folder / "sound.mp4")
    front = write_video(folder / "front.mp4", container=cut_off)
    matroska = write_video(folder / "matroska.mkv")
    streams = [write_video(folder / "parts" / "a.ts")]
    streams.append(write_video(folder / "parts" / "b.ts", size=(96, 32)))
    text, empty = folder / "text.mp4", folder / "empty.mp4"
    text.write_text("This is no video.\n" * 50)
    empty.write_bytes(b"")
    playlist = folder / "playlist.mp4"
    playlist.write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    none = ()
    late = ("torchcodec",)
    make = write_video
    zoo = [
        Odd(sound),
        Odd(front),
        Odd(matroska),
        Odd(empty, None, "empty"),
        Odd(text, None, "no video file"),
        Odd(playlist, None, "no video file"),
        Odd(write_audio(folder / "audio.mp4"), None, "no video stream, only audio"),
        Odd(make(folder / "one.mp4", 1), 1),
        # decord takes ten seconds for it.
        Odd(make(folder / "many.mp4", 10_000, (16, 16)), 10_000, agree=late),
        Odd(make(folder / "variable.mp4", pts=lambda number: number + number**2 // 4)),
        Odd(make(folder / "editlist.mp4", offset=7, container=early), FRAMES - 7, agree=late),
        Odd(make(folder / "negative.mkv", offset=7, container=early), agree=none),
        Odd(make(folder / "rotated.mp4", rotation=90), agree=late),
        Odd(make(folder / "tenbit.mp4", pix_fmt="yuv420p10le"), agree=none),
        Odd(make(folder / "oddsize.mp4", size=(35, 27), pix_fmt="yuv444p")),
        Odd(make(folder / "two.mp4", streams=2), agree=late),
        Odd(join(folder / "sizes.ts", *streams), 2 * FRAMES, agree=none),
        Odd(make(folder / "vp9.webm", codec="libvpx-vp9")),
        Odd(make(folder / "hevc.mp4", codec="libx265")),
        Odd(make(folder / "mpeg4.avi", codec="mpeg4")),
        Odd(make(folder / "bframes.avi", codec="mpeg4", options={"bf": "2"}), agree=none),
        Odd(flipped(folder / "flip3.mp4", front, 0.5, 3), FRAMES, damaged=True, agree=none),
        Odd(flipped(folder / "flip40.mp4", front, 0.3, 40), 23, damaged=True, agree=none),
        Odd(flipped(folder / "flip200.mp4", front, 0.0, 200), None, "no stream"),
    ]
    for tenth in range(1, 10):
        zoo.append(Odd(_cut(folder / f"cut{tenth}.mp4", sound, tenth), None, "cut off"))
        reason = "no frame can be decoded" if tenth == 1 else "cut off"
        zoo.append(Odd(_cut(folder / f"cutfront{tenth}.mp4", front, tenth), None, reason))
    tagged = matroska.read_bytes().replace(b"00:00:02.000000000", b"about 2 seconds.  ")
    (folder / "untimed.mkv").write_bytes(tagged)
    zoo.append(Odd(folder / "untimed.mkv"))
    icons = Image.fromarray(picture(0, (128, 128)))
    icons.save(folder / "icons.mp4", format="ico", sizes=[(16, 16), (32, 32)])
    zoo.append(Odd(folder / "icons.mp4", None, "a still picture (ico)"))
    zoo.append(Odd(_cut(folder / "cutmatroska3.mkv", matroska, 3), None, "cut off: it ends at 0.6"))
    # A tenth of a second at the end may be what a header rounds.
    zoo.append(Odd(_cut(folder / "cutmatroska9.mkv", matroska, 9), FRAMES - 2))
    return {odd.path.name: odd for odd in zoo}


def _cut(path: Path, sound: Path, tenths: int) -> Path:
    data = sound.read_bytes()
    path.write_bytes(data[: len(data) * tenths // 10])
    return path
