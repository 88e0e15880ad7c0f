"""VideoFolder: which file of a folder, or which folder of jpgs in it, is the video of an id."""

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path, PurePath, PurePosixPath

from meid_bench.benchmark.annotation import id_fault
from meid_bench.errors import DataError

# In the order of preference, where a folder holds one video in several containers.
SUFFIXES = (
    *(".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".ts", ".mpg", ".mpeg"),
    *(".flv", ".wmv", ".ogv", ".3gp"),
)
JPG = ".jpg"
# Stands for the / of a path in an id, which has to be a file's name.
SLASH = "%2F"


def video_id(name: str) -> str:
    """The id of a video by its path in the folder of videos: without suffix, %2F for each /.

    Two paths never give one id, except a video in two containers (clip.mp4 and clip.avi, clip).

    Raises:
        ValueError: The path is absolute, leads out of the folder or to something hidden, or cannot
            be told from another one once it is an id.

    Example:
        >>> video_id("monday/clip.mp4")
        'monday%2Fclip'
    """
    path = PurePosixPath(name.strip())
    if path.is_absolute() or any(part.startswith(".") for part in path.parts):
        raise ValueError(
            f"video {name!r} is not a path inside the folder of videos, past nothing hidden; give "
            "one such as monday/clip.mp4"
        )
    if SLASH in name.upper():
        raise ValueError(
            f"video {name!r} has {SLASH} in its name, which stands for / in ids; rename the file"
        )
    stem = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    made = SLASH.join(stem.parts)
    if fault := id_fault(made):
        raise ValueError(f"{fault}; folders are written with /, and every video has a name")
    return made


def path_of(video: str) -> str:
    """The path that `video_id` made an id of, without suffix: "monday/clip"."""
    return video.replace(SLASH, "/")


def is_jpg(name: str) -> bool:
    """Whether a file is a jpg by its name; hidden ones are another system's notes."""
    return name.lower().endswith(JPG) and not name.startswith(".")


def find_videos(folder: Path, ids: Collection[str]) -> dict[str, Path]:
    """Find the file `<id><suffix>`, or the folder `<id>` of jpgs, for every id that has one.

    An id with %2F is looked for in that sub-folder, which must not be hidden nor a link that leads
    out of `folder`. One folder of jpgs with a jpg in it makes all folders with ids as names folders
    of jpgs.

    Args:
        folder: Where the videos lie; it need not exist.
        ids: Video ids; they may hold dots or be a file's whole name: "P7R2X", "trip.2",
            "clip.avi", "monday%2Fclip". A suffix may be in any case.

    Returns:
        Id to file, or id to folder, in the order of `ids`. None is opened: an empty or broken one
        counts.

    Raises:
        DataError: Some ids have files and some have folders of jpgs.
    """
    places = {video: path_of(video).rpartition("/") for video in ids}
    listings = {inner: _listing(folder, inner) for inner in {place[0] for place in places.values()}}
    files: dict[str, Path] = {}
    folders: dict[str, Path] = {}
    for video, (inner, _, name) in places.items():
        by_name, below = listings[inner]
        if name in by_name:
            files[video] = folder / inner / by_name[name]
        if name in below:
            folders[video] = folder / inner / name
    filled = next((path for path in folders.values() if _holds_jpg(path)), None)
    if filled is None:
        return files
    if files:
        raise DataError(
            f"{folder} holds listed videos both as files, such as {next(iter(files.values())).name}"
            f", and as folders of jpgs, such as {filled.name}; put one kind elsewhere"
        )
    return folders


def _listing(folder: Path, inner: str) -> tuple[dict[str, str], set[str]]:
    """Names and stems of a sub-folder's video files, each to the file's name; and its folders."""
    names: list[str] = []
    below: set[str] = set()
    place = folder / inner
    hidden = inner and any(not part or part.startswith(".") for part in inner.split("/"))
    if hidden or not place.resolve().is_relative_to(folder.resolve()):
        return {}, below
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir():
                below.add(entry.name)
            elif entry.is_file() and PurePath(entry.name).suffix.lower() in SUFFIXES:
                names.append(entry.name)
    # The preferred container last, and the whole names behind all stems: what comes later counts.
    names.sort(key=lambda name: (SUFFIXES.index(PurePath(name).suffix.lower()), name), reverse=True)
    return {PurePath(name).stem: name for name in names} | {name: name for name in names}, below


def _holds_jpg(folder: Path) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        return any(is_jpg(entry.name) for entry in entries)
    return False
