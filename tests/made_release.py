"""A made-up release in Charades' formats, its videos random bytes: what `build` reads."""

import csv
import hashlib
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLASSES = 3
COLUMNS = ("id", "subject", "script", "actions", "length")
SIZES = {"train": 12, "val": 4, "test": 6}


@dataclass(frozen=True)
class Release:
    """Where the files are, and what the videos hold.

    Attributes:
        spec: The folder with spec.json and the lists.
        source: The folder with the two archives.
        videos: Id to contents, of every video in the archive.
        listed: Ids in the lists.
    """

    spec: Path
    source: Path
    videos: dict[str, bytes]
    listed: tuple[str, ...]


def made_release(folder: Path, base: str = "http://localhost", suffix: str = ".zip") -> Release:
    """Write a release: a third of its videos is in no list.

    Args:
        folder: Where to; it gets the folders spec and source.
        base: The address that the spec.json names.
        suffix: Of the videos' archive, ".zip" or ".tar".
    """
    dice = random.Random(0)
    lists = {split: [f"{split.upper()}{n:02d}" for n in range(SIZES[split])] for split in SIZES}
    others = [f"OTHER{n:02d}" for n in range(11)]
    listed = [name for split in SIZES for name in lists[split]]
    videos = {name: dice.randbytes(dice.randrange(100, 5000)) for name in sorted(listed + others)}
    source, spec = folder / "source", folder / "spec"
    source.mkdir(parents=True)
    spec.mkdir()
    rows = {"train": [*lists["train"], *others], "test": [*lists["val"], *lists["test"]]}
    members = {f"Made/made_{part}.csv": _csv(rows[part]) for part in rows}
    members["Made/made_classes.txt"] = b"".join(
        b"c%03d Class %d\n" % (n, n) for n in range(CLASSES)
    )
    write_zip(source / "Made.zip", members)
    contents = {f"Made_480/{name}.mp4": body for name, body in videos.items()}
    write = write_zip if suffix == ".zip" else write_tar
    write(source / f"Made_480{suffix}", contents)
    for split, names in lists.items():
        (spec / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    (spec / "spec.json").write_text(json.dumps(spec_data(source, base, suffix), indent=1))
    return Release(spec, source, videos, tuple(listed))


def spec_data(source: Path, base: str, suffix: str) -> dict[str, Any]:
    """The spec.json of that release."""
    return {
        "name": "made",
        "title": "Made up",
        "format": "charades",
        "sources": {
            "annotations": {
                **_origin(source / "Made.zip", base),
                "members": {
                    "train": "Made/made_train.csv",
                    "test": "Made/made_test.csv",
                    "classes": "Made/made_classes.txt",
                },
            },
            "videos": {
                **_origin(source / f"Made_480{suffix}", base),
                "archive": "made_480",
                "member": "Made_480/{id}.mp4",
            },
        },
        "bins": {"tail_max": 3, "medium_max": 6},
        "frames": 4,
        "training_frames": None,
        "expected": None,
        "published": None,
        "lists": {split: f"{split}.txt" for split in SIZES},
        "lists_origin": None,
        "checks": None,
        "fingerprint": None,
        "citation": "",
        "licence": "",
    }


def write_zip(path: Path, members: Mapping[str, bytes], compression: int = 0) -> None:
    """Write a zip of these members, in their order."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, body in members.items():
            archive.writestr(name, body)


def write_tar(path: Path, members: Mapping[str, bytes], format: int = tarfile.GNU_FORMAT) -> None:
    """Write a tar of these members behind an entry for their folder."""
    with tarfile.open(path, "w", format=format) as archive:
        folder = tarfile.TarInfo("Made_480")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))


def _origin(path: Path, base: str) -> dict[str, Any]:
    body = path.read_bytes()
    return {
        "url": f"{base}/{path.name}",
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }


def _csv(names: list[str]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for number, name in enumerate(names):
        actions = ";".join(
            f"c{label:03d} 0.50 {2 + label}.00"
            for label in range(CLASSES)
            if label == 0 or number % (label + 1) == 0
        )
        rows.writerow((name, f"S{name}", f"script {name}", actions, "4.00"))
    return text.getvalue().encode()
