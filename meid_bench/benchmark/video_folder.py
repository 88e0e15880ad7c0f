"""VideoFolder: which file of a folder, or which folder of jpgs in it, is the video of an id."""

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path, PurePath

from meid_bench.errors import DataError

# In the order of preference, where a folder holds one video in several containers.
SUFFIXES = (
    *(".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".ts", ".mpg", ".mpeg"),
    *(".flv", ".wmv", ".ogv", ".3gp"),
)
JPG = ".jpg"


def is_jpg(name: str) -> bool:
    """Whether a file is a jpg by its name; hidden ones are another system's notes."""
    return name.lower().endswith(JPG) and not name.startswith(".")


def find_videos(folder: Path, ids: Collection[str]) -> dict[str, Path]:
    """Find the file `<id><suffix>`, or the folder `<id>` of jpgs, for every id that has one.

    One folder of jpgs with a jpg in it makes all folders with ids as names folders of jpgs.

    Args:
        folder: Where the videos lie; it need not exist.
        ids: Video ids; they may hold dots or be a file's whole name: "P7R2X", "trip.2",
            "clip.avi". A suffix may be in any case.

    Returns:
        Id to file, or id to folder, in the order of `ids`. None is opened: an empty or broken one
        counts.

    Raises:
        DataError: Some ids have files and some have folders of jpgs.
    """
    names: list[str] = []  # of files that are videos by their suffix
    below: set[str] = set()
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                below.add(entry.name)
            elif entry.is_file() and PurePath(entry.name).suffix.lower() in SUFFIXES:
                names.append(entry.name)
    # The preferred container last, and the whole names behind all stems: what comes later counts.
    names.sort(key=lambda name: (SUFFIXES.index(PurePath(name).suffix.lower()), name), reverse=True)
    by_name = {PurePath(name).stem: name for name in names} | {name: name for name in names}
    files = {video: folder / by_name[video] for video in ids if video in by_name}
    folders = {video: folder / video for video in ids if video in below}
    filled = next((path for path in folders.values() if _holds_jpg(path)), None)
    if filled is None:
        return files
    if files:
        raise DataError(
            f"{folder} holds listed videos both as files, such as {next(iter(files.values())).name}"
            f", and as folders of jpgs, such as {filled.name}; put one kind elsewhere"
        )
    return folders


def _holds_jpg(folder: Path) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        return any(is_jpg(entry.name) for entry in entries)
    return False
