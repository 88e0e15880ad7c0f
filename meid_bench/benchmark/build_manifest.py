"""The build manifest: which official files a benchmark was built from, and where its videos lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meid_bench.codec import decode, read_json, write_json
from meid_bench.errors import DataError
from meid_bench.files import benchmark_dir

MANIFEST_FILE = "manifest.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class OfficialFile:
    """An official file that a benchmark was built from.

    Attributes:
        path: Its address, or its path on the disk.
        bytes: Its size, or None where the server did not say.
        sha256: Its sum, or None where the whole of it was never read.
        etag: What the server called this version, or None.
    """

    path: str
    bytes: int | None = None
    sha256: str | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class VideosFound:
    """Where the videos lie.

    Attributes:
        folder: Relative to the data root where it is below it, otherwise absolute.
        archive: Short name of the archive they come from, for example "charades_v1_480".
        found: How many of the listed videos are there.
        missing: Ids of those that are not, sorted.
    """

    folder: str
    archive: str
    found: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class BuildManifest:
    """What `build` writes last, beside benchmark.json.

    Attributes:
        schema: Number of this format.
        name: The benchmark.
        fingerprint: Its labels' fingerprint.
        sources: "annotations" or a role in it, "videos": the files they came from.
        videos: Where the videos lie; None where it was built without.
        tool_version: Of meid-bench.
        date: UTC, ISO 8601.
    """

    schema: int
    name: str
    fingerprint: str
    sources: Mapping[str, OfficialFile]
    videos: VideosFound | None
    tool_version: str
    date: str

    def video_folder(self, root: Path) -> Path | None:
        """The folder of videos, or None where it was built without."""
        return None if self.videos is None else root / self.videos.folder


def save_build_manifest(manifest: BuildManifest, root: Path) -> None:
    """Write manifest.json into the benchmark's folder, whole or not at all."""
    path = benchmark_dir(root, manifest.name) / MANIFEST_FILE
    write_json(path, manifest)


def load_build_manifest(root: Path, name: str) -> BuildManifest | None:
    """Read a benchmark's manifest; None where no build of it came to its end.

    Raises:
        DataError: The file is damaged.
    """
    path = benchmark_dir(root, name) / MANIFEST_FILE
    if not path.is_file():
        return None
    try:
        data: Any = read_json(path)
        return decode(BuildManifest, data)
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); build {name} again") from error
