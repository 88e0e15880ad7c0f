"""Videos to measure extraction on: 480p, H.264, as a camera makes them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE, RATE = (640, 480), 30


def make_video(path: Path, seconds: float, seed: int) -> None:
    """A scene of moving textures with a little noise, as an H.264 camera file."""
    numbers = np.random.default_rng(seed)
    width, height = SIZE
    texture = numbers.integers(16, 232, (height // 8, width // 8, 3), np.uint8)
    texture = texture.repeat(8, 0).repeat(8, 1)
    noise = numbers.integers(0, 8, (5, height, width, 3), np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"crf": "23", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        for number in range(round(seconds * RATE)):
            image = np.roll(texture, (number, 2 * number), axis=(0, 1)) + noise[number % 5]
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def links(folder: Path, made: list[Path], count: int) -> list[Path]:
    """`count` videos by name, the made ones over and over."""
    paths = [folder / f"video{number:03d}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        path.symlink_to(made[number % len(made)])
    return paths
