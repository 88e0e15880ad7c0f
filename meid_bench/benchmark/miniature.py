"""Miniature: a made-up Charades release in the official formats, with its spec.json."""

import csv
import io
import json
import random
import string
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meid_bench.benchmark.download import file_sha256
from meid_bench.benchmark.scenery import ACTIONS, ROOMS, SLOTS, Colour, Happening, encode, render
from meid_bench.benchmark.spec import SPEC_FILE, load_spec
from meid_bench.errors import SettingError
from meid_bench.files import atomic, write_text
from meid_bench.progress import Progress

NAME = "demo"
SECONDS = 4.0
# Training videos of each class of ACTIONS: five head, four medium and five tail classes.
TRAIN_COUNTS = (40, 32, 26, 21, 17, 14, 11, 9, 7, 6, 5, 4, 4, 3)
BINS = {"tail_max": 6, "medium_max": 16}


@dataclass(frozen=True, slots=True)
class SplitSize:
    """How large a split is, who acts in it, and which official file its rows are in."""

    videos: int
    subjects: int
    least: int  # positives of the rarest class
    file: str


SPLIT_SIZES = {
    "train": SplitSize(72, 14, 3, "train"),
    "val": SplitSize(20, 5, 2, "test"),
    "test": SplitSize(40, 8, 4, "test"),
}
UNLABELLED = 2  # rows without actions in each official file, as there are in Charades

COLUMNS = (
    "id", "subject", "scene", "quality", "relevance", "verified",
    "script", "objects", "descriptions", "actions", "length",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Clip:
    """One video to be: its row in the official file, and what shows in it."""

    id: str
    subject: str
    script: str
    room: str
    shirt: Colour
    happenings: tuple[Happening, ...]
    labels: tuple[int, ...]  # of each happening

    def row(self) -> tuple[str, ...]:
        """The official file's row, in the order of `COLUMNS`."""
        actions = ";".join(
            # Some intervals of Charades end after their video: here those that last to its end.
            f"c{label:03d} {what.start:.2f} {what.end + 0.3 * (what.end == SECONDS):.2f}"
            for label, what in zip(self.labels, self.happenings, strict=True)
        )
        things = ";".join(sorted({what.action.thing for what in self.happenings}))
        return (
            self.id, self.subject, self.room, "7", "7", "Yes",
            self.script, things, self.script, actions, f"{SECONDS:.2f}",
        )  # fmt: skip


def make_release(folder: Path, seed: int, frames: int = 8) -> Path:
    """Render the release into `folder`; one that is there already is left as it is.

    The folder then holds Charades.zip (annotations), Charades_v1_480.zip (videos), the three
    lists of ids and a spec.json, which `build` reads like any other. The annotations depend on
    nothing but the seed, the videos also on the H.264 encoder.

    Args:
        folder: Where to; made if need be.
        seed: Of everything that is drawn.
        frames: T, the frames per video that its spec.json asks for.

    Returns:
        `folder`.

    Raises:
        SettingError: The folder holds another release.
    """
    title = f"Demo (made-up videos, seed {seed})"
    if (folder / SPEC_FILE).is_file():  # it is written last: all the rest is there
        there = load_spec(folder).title
        if there != title:
            raise SettingError(f"{folder} holds {there!r}, not {title!r}; choose another folder")
        return folder
    clips = planned_clips(seed)
    annotations, videos = folder / "Charades.zip", folder / "Charades_v1_480.zip"
    members = _annotation_files(clips)
    _write_zip(annotations, {f"Charades/{name}": text.encode() for name, text in members.items()})
    _write_videos(videos, [clip for split in clips.values() for clip in split], seed)
    for split in SPLIT_SIZES:
        listed = sorted(clip.id for clip in clips[split] if clip.labels)
        write_text(folder / f"{split}.txt", "".join(f"{name}\n" for name in listed))
    spec = _spec(annotations, videos) | {"title": title, "frames": frames}
    write_text(folder / SPEC_FILE, json.dumps(spec, indent=2) + "\n")
    return folder


def planned_clips(seed: int) -> dict[str, list[Clip]]:
    """Draw who does what, where and when: split to clips; no id, subject or script is in two."""
    draw = random.Random(seed)
    names = iter(_names(draw, 5, 200))
    subjects = iter(_names(draw, 4, 40))
    clips: dict[str, list[Clip]] = {}
    for split, size in SPLIT_SIZES.items():
        counts = [
            max(size.least, n * size.videos // SPLIT_SIZES["train"].videos) for n in TRAIN_COUNTS
        ]
        labels = _label_sets(counts, size.videos, draw)
        if split != "val":  # val shares test's official file, which has its unlabelled rows already
            labels += [set() for _ in range(UNLABELLED)]
        cast = [(next(subjects), _shirt(draw)) for _ in range(size.subjects)]
        clips[split] = [
            _clip(next(names), cast[index % len(cast)], sorted(of_video), draw)
            for index, of_video in enumerate(labels)
        ]
    return clips


def _label_sets(counts: Sequence[int], videos: int, draw: random.Random) -> list[set[int]]:
    """Classes of each video, so that class c is in exactly counts[c], and none is without."""
    most = len(SLOTS) - 1
    sets: list[set[int]] = [set() for _ in range(videos)]
    for label, count in enumerate(counts):
        free = [video for video in range(videos) if len(sets[video]) < most]
        for video in draw.sample(free, count):
            sets[video].add(label)
    for empty in (video for video in sets if not video):
        fullest = max(sets, key=len)
        moved = min(fullest)
        fullest.remove(moved)
        empty.add(moved)
    return sets


def _clip(name: str, actor: tuple[str, Colour], labels: list[int], draw: random.Random) -> Clip:
    room = draw.choice(list(ROOMS))
    slots = draw.sample(range(len(SLOTS)), len(labels))
    shown: list[tuple[int, Happening]] = []
    for label, slot in zip(labels, slots, strict=True):
        for start, end in _times(draw):
            shown.append((label, Happening(ACTIONS[label], slot, start, end)))
    phrases = [ACTIONS[label].phrase.lower() for label in labels] or ["standing there"]
    # A take's number makes each script one of a kind, so that no script is in two splits.
    script = f"Take {name}: a person in the {room.lower()} is {' and '.join(phrases)}."
    return Clip(
        id=name,
        subject=actor[0],
        script=script,
        room=room,
        shirt=actor[1],
        happenings=tuple(happening for _, happening in shown),
        labels=tuple(label for label, _ in shown),
    )


def _times(draw: random.Random) -> list[tuple[float, float]]:
    """When an action happens, in seconds; now and then twice, as in Charades."""
    length = round(draw.uniform(1.4, 3.2), 1)
    start = round(draw.uniform(0, SECONDS - length), 1)
    end = round(start + length, 1)
    if length < 2.4 or draw.random() < 0.6:
        return [(start, end)]
    pause = round(start + length / 2, 1)
    return [(start, round(pause - 0.2, 1)), (round(pause + 0.2, 1), end)]


def _names(draw: random.Random, length: int, count: int) -> list[str]:
    letters = string.ascii_uppercase + string.digits
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(draw.choice(letters) for _ in range(length))] = None
    return list(names)


def _shirt(draw: random.Random) -> Colour:
    # Muted, unlike every thing: who acts must not tell what is done.
    red, green, blue = (draw.randrange(70, 150) for _ in range(3))
    return red, green, blue


def _annotation_files(clips: dict[str, list[Clip]]) -> dict[str, str]:
    """The official annotation files: name to text."""
    texts = {
        "Charades_v1_classes.txt": "".join(
            f"c{label:03d} {action.phrase}\n" for label, action in enumerate(ACTIONS)
        )
    }
    for file in ("train", "test"):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        here = [
            clip
            for split, size in SPLIT_SIZES.items()
            if size.file == file
            for clip in clips[split]
        ]
        writer.writerows(clip.row() for clip in sorted(here, key=lambda clip: clip.id))
        texts[f"Charades_v1_{file}.csv"] = text.getvalue()
    return texts


def _write_videos(path: Path, clips: Sequence[Clip], seed: int) -> None:
    members = {}
    with Progress(len(clips), "render", "videos") as progress:
        for index, clip in enumerate(clips):
            noise = np.random.default_rng((seed, index))
            frames = render(clip.room, clip.shirt, clip.happenings, SECONDS, noise)
            members[f"Charades_v1_480/{clip.id}.mp4"] = encode(frames)
            progress.update()
    _write_zip(path, members)


def _write_zip(path: Path, members: dict[str, bytes]) -> None:
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in members.items():
            # A ZipInfo's date is fixed: the same release has the same sum tomorrow.
            archive.writestr(zipfile.ZipInfo(name), content)


def _spec(annotations: Path, videos: Path) -> dict[str, object]:
    roles = {"train": "_train.csv", "test": "_test.csv", "classes": "_classes.txt"}
    files = {role: f"Charades/Charades_v1{suffix}" for role, suffix in roles.items()}
    return {
        "name": NAME,
        "format": "charades",
        "sources": {
            "annotations": _origin(annotations) | {"members": files},
            "videos": _origin(videos) | {"archive": NAME, "member": "Charades_v1_480/{id}.mp4"},
        },
        "bins": BINS,
        "training_frames": None,
        "expected": None,
        "published": None,
        "lists": {split: f"{split}.txt" for split in SPLIT_SIZES},
        "lists_origin": None,
        "checks": None,
        "fingerprint": None,
        "citation": "Made-up videos, rendered by `meid-bench demo`; nothing to cite.",
        "licence": "Made-up videos; no rights reserved.",
    }


def _origin(path: Path) -> dict[str, object]:
    return {"url": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
