"""Spool: features of a shard that is not complete yet wait on the disk, not in memory."""

import io
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path

from meid_bench.features.shard import VideoFeatures


class Spool:
    """Videos in a file that has no name: it goes with the process, and nobody else can write it.

    Args:
        folder: The file is on the disk of this folder.
    """

    def __init__(self, folder: Path) -> None:
        # Where a system cannot do without a name, what a kill leaves looks like `atomic`'s.
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".", suffix=".tmp")  # noqa: SIM115
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def put(self, video: VideoFeatures) -> None:
        """Take a video.

        Raises:
            OSError: The disk is full.
        """
        self._places[video.id] = self._file.seek(0, io.SEEK_END)
        pickle.dump(video, self._file)

    def __iter__(self) -> Iterator[VideoFeatures]:
        """The videos in the order of their ids, each read as it is asked for."""
        for name in sorted(self._places):
            self._file.seek(self._places[name])
            yield pickle.load(self._file)

    def close(self) -> None:
        """Give the space on the disk back."""
        self._file.close()
