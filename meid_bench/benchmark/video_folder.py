"""VideoFolder: which file of a folder, or which folder of jpgs in it, is the video of an id."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
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


def find_videos(folder: Path, ids: Iterable[str]) -> dict[str, Path]:
    """Find the file `<id><suffix>`, or the folder `<id>` of jpgs, for every id that is there.

    Folders below are listed only where ids say so; of folders named as videos are, one with a
    jpg in it makes all of them folders of jpgs.

    Args:
        folder: Where the videos lie; it need not exist.
        ids: Video ids; they may hold dots, be a file's whole name, and name folders below:
            "P7R2X", "trip.2", "clip.avi", "monday/clip". A suffix may be in any case.

    Returns:
        Id to file, or id to folder, in the order of `ids`. None is opened: an empty or broken one
        is found.

    Raises:
        DataError: Some ids are there as files and some as folders of jpgs.
    """
    present: dict[str, _Names] = {}
    files: dict[str, Path] = {}
    folders: dict[str, Path] = {}
    for video_id in ids:
        parent, _, name = video_id.rpartition("/")
        if parent not in present:
            present[parent] = _names(folder / parent)
        if name in present[parent].files:
            files[video_id] = folder / parent / present[parent].files[name]
        if name in present[parent].folders:
            folders[video_id] = folder / parent / name
    filled = next((path for path in folders.values() if _holds_jpg(path)), None)
    if filled is None:
        return files
    if files:
        raise DataError(
            f"{folder} holds listed videos both as files, such as {next(iter(files.values())).name}"
            f", and as folders of jpgs, such as {filled.name}; put one kind elsewhere"
        )
    return folders


@dataclass(frozen=True)
class _Names:
    """Every name by which a file of a folder can be meant, to the file's; and folders in it."""

    files: dict[str, str]
    folders: set[str]


def _names(folder: Path) -> _Names:
    videos = []
    folders = set()
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                folders.add(entry.name)
            elif entry.is_file() and PurePath(entry.name).suffix.lower() in SUFFIXES:
                videos.append(entry.name)
    stems: dict[str, tuple[int, str]] = {}
    for name in videos:
        path = PurePath(name)
        rank = SUFFIXES.index(path.suffix.lower()), name
        stems[path.stem] = min(rank, stems.get(path.stem, rank))
    files = {stem: name for stem, (_, name) in stems.items()} | {name: name for name in videos}
    return _Names(files, folders)


def _holds_jpg(folder: Path) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        return any(is_jpg(entry.name) for entry in entries)
    return False
