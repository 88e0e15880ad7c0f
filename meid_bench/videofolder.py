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
        folder: Where the videos lie, not below; it need not exist.
        ids: Video ids; they may hold dots.

    Returns:
        Id to file, in the order of `ids`. Files are not opened: an empty or broken one is found.
    """
    present: dict[str, tuple[int, str]] = {}
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for name in names:
        path = PurePath(name)
        if path.suffix.lower() in SUFFIXES:
            rank = SUFFIXES.index(path.suffix.lower()), name
            present[path.stem] = min(rank, present.get(path.stem, rank))
    return {name: folder / present[name][1] for name in ids if name in present}
