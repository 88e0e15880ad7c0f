"""Scenery: short made-up videos in which what shows and moves follows the annotated actions."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH, FRAME_RATE = 192, 256, 12
# Where objects may be, as (x, y) of their centres: inside the square that ImageNet's centre crop
# leaves of a 4:3 picture, so that the encoder sees every one of them.
SLOTS = tuple((x, y) for y in (54, 138) for x in (68, 128, 188))
SIZE = 33  # half an object's width, pixels
ROOMS = {
    "Kitchen": ((205, 200, 185), (150, 120, 95)),
    "Bedroom": ((190, 195, 210), (125, 110, 100)),
    "Garage": ((165, 170, 165), (110, 110, 115)),
    "Hallway": ((215, 205, 195), (140, 130, 105)),
}

Colour = tuple[int, int, int]
Grid = NDArray[np.floating[Any]]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Action:
    """A class of the miniature: a thing of two colours and a texture, and what is done with it."""

    phrase: str
    thing: str
    colours: tuple[Colour, Colour]
    texture: str
    motion: str


@dataclass(frozen=True, slots=True)
class Happening:
    """An action in one place of one video, from `start` to `end` in seconds."""

    action: Action
    slot: int
    start: float
    end: float


RED, GREEN, BLUE = (215, 25, 25), (20, 160, 40), (30, 50, 205)
YELLOW, MAGENTA, CYAN = (250, 215, 20), (205, 20, 165), (20, 195, 205)
ORANGE, PURPLE, LIME = (245, 130, 15), (105, 35, 160), (150, 230, 30)
WHITE, BLACK, PINK = (245, 245, 245), (15, 15, 15), (250, 150, 185)

# From the most to the least frequent. Lamp and balloon come twice: there only the motion tells.
ACTIONS = (
    Action("Waving a red towel", "towel", (RED, WHITE), "stripes", "swing"),
    Action("Throwing a green ball", "ball", (GREEN, BLACK), "dots", "bounce"),
    Action("Reading a blue book", "book", (BLUE, WHITE), "checks", "still"),
    Action("Holding a yellow lamp", "lamp", (YELLOW, YELLOW), "plain", "still"),
    Action("Turning a black and white wheel", "wheel", (BLACK, WHITE), "spokes", "spin"),
    Action("Closing a magenta umbrella", "umbrella", (MAGENTA, BLACK), "rings", "shrink"),
    Action("Holding an orange balloon", "balloon", (ORANGE, ORANGE), "plain", "still"),
    Action("Sweeping with a lime broom", "broom", (LIME, BLACK), "stripes", "swing"),
    Action("Taking a cyan bag", "bag", (CYAN, BLUE), "checks", "bounce"),
    Action("Switching a yellow lamp on and off", "lamp", (YELLOW, YELLOW), "plain", "flash"),
    Action("Folding a purple blanket", "blanket", (PURPLE, PINK), "dots", "shrink"),
    Action("Inflating an orange balloon", "balloon", (ORANGE, ORANGE), "plain", "grow"),
    Action("Watching a black and green screen", "screen", (BLACK, LIME), "checks", "flash"),
    Action("Opening a pink box", "box", (PINK, RED), "rings", "grow"),
)


def render(
    room: str,
    shirt: Colour,
    happenings: Sequence[Happening],
    seconds: float,
    noise: np.random.Generator,
) -> Iterator[Picture]:
    """Draw a video's frames: a room, a person who sways, and every happening while it lasts.

    Args:
        room: A name of `ROOMS`.
        shirt: The person's colour; it belongs to the subject and tells nothing of the actions.
        happenings: What shows, and when.
        seconds: How long the video is.
        noise: Where the camera's noise and the person's sway come from.

    Yields:
        Frames, (HEIGHT, WIDTH, 3) uint8 RGB.
    """
    grain = noise.normal(0, 4, (HEIGHT, WIDTH, 1))
    backdrop: Picture = (_room(room) + grain).clip(0, 255).astype(np.uint8)
    phase = noise.uniform(0, 2 * np.pi)
    for index in range(round(seconds * FRAME_RATE)):
        time = index / FRAME_RATE
        frame = backdrop.copy()
        _person(frame, WIDTH // 2 + round(12 * np.sin(time + phase)), shirt)
        for happening in happenings:
            if happening.start <= time < happening.end:
                _thing(frame, happening, time)
        yield frame


def encode(frames: Iterator[Picture]) -> bytes:
    """Write frames as H.264 in MP4, the form of Charades' own files."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "veryfast", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _room(name: str) -> Grid:
    """(HEIGHT, 1, 3): a wall above a floor, darker downwards."""
    wall, floor = np.array(ROOMS[name])
    y = np.arange(HEIGHT)[:, None, None] / HEIGHT
    picture: Grid = np.where(y < 0.7, wall, floor) * (1 - 0.15 * y)
    return picture


def _person(frame: Picture, x: int, shirt: Colour) -> None:
    frame[84:160, x - 24 : x + 24] = shirt
    v, u = np.ogrid[-19:20, -19:20]
    frame[43:82, x - 19 : x + 20][u**2 + v**2 < 19**2] = (205, 165, 140)


def _thing(frame: Picture, happening: Happening, time: float) -> None:
    action = happening.action
    share = (time - happening.start) / (happening.end - happening.start)
    right, down, scale, angle = MOTIONS[action.motion](time, share)
    if not scale:
        return
    x, y = SLOTS[happening.slot][0] + right, SLOTS[happening.slot][1] + down
    reach = int(1.42 * SIZE * scale) + 1  # half the diagonal: a turned square still fits
    left, top = max(int(x) - reach, 0), max(int(y) - reach, 0)
    patch = frame[top : int(y) + reach, left : int(x) + reach]
    v, u = np.mgrid[: patch.shape[0], : patch.shape[1]].astype(np.float32)
    u, v = (u + left - x) / scale, (v + top - y) / scale
    u, v = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    inside = (np.abs(u) < SIZE) & (np.abs(v) < SIZE)
    first = TEXTURES[action.texture](u[inside], v[inside])
    patch[inside] = np.where(first[:, None], *np.array(action.colours, np.uint8))


# Texture -> which points (u, v) of a thing, in pixels from its centre, have the first colour.
TEXTURES: dict[str, Callable[[Grid, Grid], NDArray[np.bool_]]] = {
    "plain": lambda u, v: np.ones_like(u, dtype=bool),
    "stripes": lambda u, v: np.mod(u, 12) < 7,
    "checks": lambda u, v: (np.mod(u, 16) < 8) ^ (np.mod(v, 16) < 8),
    "dots": lambda u, v: (np.mod(u, 13) - 6.5) ** 2 + (np.mod(v, 13) - 6.5) ** 2 > 14,
    "rings": lambda u, v: np.mod(np.hypot(u, v), 10) < 6,
    "spokes": lambda u, v: np.mod(np.arctan2(v, u), np.pi / 4) < np.pi / 8,
}

# Motion -> (pixels right, pixels down, size, angle) at a time in seconds and a share of the action.
MOTIONS: dict[str, Callable[[float, float], tuple[float, float, float, float]]] = {
    "still": lambda time, share: (0, 0, 1, 0),
    "swing": lambda time, share: (20 * np.sin(5 * time), 0, 1, 0.4 * np.sin(5 * time)),
    "bounce": lambda time, share: (0, 14 - 28 * abs(np.sin(4 * time)), 0.9, 0),
    "spin": lambda time, share: (0, 0, 1, 2 * time),
    "grow": lambda time, share: (0, 0, 0.4 + 0.9 * share, 0),
    "shrink": lambda time, share: (0, 0, 1.3 - 0.9 * share, 0),
    "flash": lambda time, share: (0, 0, float(np.mod(1.3 * time, 1) < 0.5), 0),
}
