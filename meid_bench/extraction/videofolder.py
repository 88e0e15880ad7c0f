"""VideoFolder: which file of a folder is the video of an id."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePath

# In the order of preference, where a folder holds one video in several containers.
SUFFIXES = (
    *(".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".ts", ".mpg", ".mpeg"),
    *(".flv", ".wmv", ".ogv", ".3gp"),
)


def find_videos(folder: Path, ids: Iterable[str]) -> dict[str, Path]:
    """Find `<id><suffix>` in a folder, for every id that is there; the suffix in any case.

    Args:
        folder: Where the videos lie; it need not exist. Below it only where ids say so.
        ids: Video ids; they may hold dots, be a file's whole name, and name folders below:
            "P7R2X", "trip.2", "clip.avi", "monday/clip".

    Returns:
        Id to file, in the order of `ids`. Files are not opened: an empty or broken one is found.
    """
    present: dict[str, dict[str, str]] = {}
    found = {}
    for video_id in ids:
        parent, _, name = video_id.rpartition("/")
        if parent not in present:
            present[parent] = _names(folder / parent)
        if name in present[parent]:
            found[video_id] = folder / parent / present[parent][name]
    return found


def _names(folder: Path) -> dict[str, str]:
    """Every name by which a file of a folder can be meant, to the file's name."""
    try:
        with os.scandir(folder) as entries:
            files = [entry.name for entry in entries if entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    stems: dict[str, tuple[int, str]] = {}
    videos = [name for name in files if PurePath(name).suffix.lower() in SUFFIXES]
    for name in videos:
        path = PurePath(name)
        rank = SUFFIXES.index(path.suffix.lower()), name
        stems[path.stem] = min(rank, stems.get(path.stem, rank))
    return {stem: name for stem, (_, name) in stems.items()} | {name: name for name in videos}
