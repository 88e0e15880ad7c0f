"""VideoSource: the listed videos, found in place or unpacked from an archive here or far away."""

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from meid_bench.benchmark.archives.archive import Archive
from meid_bench.benchmark.archives.opener import RemoteArchive, open_archive
from meid_bench.benchmark.archives.remote import ChangedError, NoRangesError, Remote
from meid_bench.benchmark.archives.unpack import unpack
from meid_bench.benchmark.build_manifest import Found, VideosFound
from meid_bench.benchmark.download import download, verify
from meid_bench.benchmark.source import Source, find_file
from meid_bench.benchmark.spec import ID, Videos, filename
from meid_bench.benchmark.video_folder import find_videos
from meid_bench.codec import decode, read_json
from meid_bench.errors import DataError
from meid_bench.files import downloads_dir, videos_dir, write_text

Mode = Literal["needed", "all", "none"]

# Connections at once: enough to hide the way to the server, few enough to be a good guest.
CONNECTIONS = 8
# How often a file that changes under our hands is begun anew.
ATTEMPTS = 3
# In the folder of unpacked videos: which version of the archive they are from.
VERSION = ".archive.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Transfer:
    """What reading single members of an archive on a server took.

    Attributes:
        fetched: Bytes that came.
        requests: Requests sent.
        size: Bytes of the whole archive.
    """

    fetched: int
    requests: int
    size: int


@dataclass(frozen=True, slots=True)
class Gathered:
    """Where the videos lie, the archive that was opened, and what crossed the network."""

    videos: VideosFound | None
    archive: Found | None = None
    transfer: Transfer | None = None


def gather_videos(
    videos: Videos, ids: Sequence[str], source: Source, root: Path, mode: Mode
) -> Gathered:
    """Find the listed videos, and unpack or fetch what is not there yet.

    A folder of the source that holds them is used in place, as is what an earlier build
    unpacked; then comes an archive in the source's folder or among the downloads; then, where
    no folder was named, the address: only the needed members of it where the server serves
    ranges.

    Args:
        videos: What the specification says of them.
        ids: The listed videos.
        source: Where to look.
        root: The data root.
        mode: "needed" takes the listed videos out of the archive, "all" every one of it,
            "none" only looks for what lies in folders.

    Returns:
        Where they lie; no videos with mode "none" where no folder holds any.

    Raises:
        DataError: There is nothing to take them from, or it is damaged.
    """
    home = videos_dir(root, videos.archive)
    folder = max(_folders(videos, source, home), key=lambda folder: len(find_videos(folder, ids)))
    there = record_videos(folder, videos.archive, ids, root)
    done = _unpacked(home) if folder == home else None
    complete = not there.missing and (mode == "needed" or (done is not None and done.whole))
    if mode == "none" or complete:
        return Gathered(there if there.found else None, None if done is None else done.archive)
    folders = [downloads_dir(root)] if source.folder is None else [source.folder]
    transfer = None
    if path := find_file(filename(videos.url), folders):
        archive = verify(path, videos.bytes, videos.sha256)
        _take(lambda: open_archive(path), archive, videos, ids, home, mode)
    elif source.folder is None and "://" in (url := source.url(videos.url)):
        archive, transfer = _fetch(url, videos, ids, root, mode)
    elif there.found:
        return Gathered(there)
    else:
        raise DataError(_nowhere(videos, source, ids))
    there = record_videos(home, videos.archive, ids, root)
    if not there.found:
        raise DataError(
            f"{archive.path} holds none of the {len(ids)} listed videos, such as "
            f"{videos.member.replace(ID, ids[0])}; is it the right archive?"
        )
    return Gathered(there, archive, transfer)


def _fetch(
    url: str, videos: Videos, ids: Sequence[str], root: Path, mode: Mode
) -> tuple[Found, Transfer | None]:
    """Take members from an archive on a server, or the whole of it where that must be."""
    home = videos_dir(root, videos.archive)
    if mode == "needed":
        try:
            return _fetch_members(url, videos, ids, root)
        except NoRangesError as error:
            log.warning("%s; fetching the whole archive", error)
    path = downloads_dir(root) / filename(url)
    archive = download(url, path, videos.bytes, videos.sha256)
    _take(lambda: open_archive(path), archive, videos, ids, home, mode)
    return archive, None


def _fetch_members(
    url: str, videos: Videos, ids: Sequence[str], root: Path
) -> tuple[Found, Transfer]:
    home = videos_dir(root, videos.archive)
    index = downloads_dir(root) / f"{filename(url)}.index.json"
    for attempt in range(ATTEMPTS):
        remote = Remote(url)
        version = remote.version()
        if videos.bytes not in (None, version.size):
            raise DataError(
                f"{url} has {version.size} bytes, {videos.bytes} were expected; it is another "
                "file than the official one, name a mirror or a folder with --source"
            )
        archive = Found(url, version.size, etag=version.etag)
        try:
            opener = RemoteArchive(remote, index)
            _take(opener, archive, videos, ids, home, "needed", CONNECTIONS, remote.stop)
            return archive, Transfer(remote.fetched, remote.requests, version.size or 0)
        except ChangedError as error:
            log.warning("%s; starting again", error)
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _take(
    opener: Callable[[], Archive],
    origin: Found,
    videos: Videos,
    ids: Sequence[str],
    home: Path,
    mode: Mode,
    workers: int = 1,
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Unpack what is missing, after removing what another version of the archive left."""
    with opener() as archive:
        members = members_of(archive, videos)
        targets = {path: home / f"{name}{PurePosixPath(path).suffix}" for name, path in members}
        unpacked = _unpacked(home)
        if unpacked is None or unpacked.archive != origin:
            for path, target in targets.items():
                if not archive.holds(path, target, thorough=True):
                    target.unlink(missing_ok=True)
        listed = set(ids)
        wanted = {path for name, path in members if mode == "all" or name in listed}
        missing = {
            path: target
            for path, target in targets.items()
            if path in wanted and not archive.holds(path, target, thorough=False)
        }
    for left in home.glob(".*.tmp"):  # by a build that was killed; no other is at work
        left.unlink()
    _note(home, _Unpacked(origin, False))
    unpack(opener, missing, workers, stop)
    _note(home, _Unpacked(origin, mode == "all"))


@dataclass(frozen=True)
class _Unpacked:
    """What a folder of videos was unpacked from, and whether all of it was."""

    archive: Found
    whole: bool


def _unpacked(home: Path) -> _Unpacked | None:
    with suppress(OSError, ValueError):
        return decode(_Unpacked, read_json(home / VERSION))
    return None


def _note(home: Path, unpacked: _Unpacked) -> None:
    write_text(home / VERSION, json.dumps(asdict(unpacked)))


def members_of(archive: Archive, videos: Videos) -> list[tuple[str, str]]:
    """Id and member of every video in the archive, in the archive's order.

    A video is known by its file's name: the folders inside an archive are what its maker's
    tool made of them.

    Raises:
        DataError: Two members have the name of one video.
    """
    before, after = PurePosixPath(videos.member).name.split(ID)
    found: dict[str, str] = {}
    for path in sorted(archive.entries, key=lambda path: archive.entries[path].offset):
        name = PurePosixPath(path).name
        if not (name.startswith(before) and name.endswith(after)):
            continue
        video = name[len(before) : len(name) - len(after)]
        if video in found:
            raise DataError(
                f"{archive.label} holds video {video!r} twice, {found[video]} and {path}; "
                "it is not the official archive"
            )
        found[video] = path
    return list(found.items())


def _folders(videos: Videos, source: Source, home: Path) -> list[Path]:
    """Where videos may lie unpacked, in the order of preference."""
    if source.folder is None:
        return [home]
    return [source.folder / PurePosixPath(videos.member).parent, source.folder, home]


def record_videos(folder: Path, archive: str, ids: Sequence[str], root: Path) -> VideosFound:
    """What a folder holds of the listed videos, as the manifest says it."""
    found = find_videos(folder, ids)
    folder, root = folder.resolve(), root.resolve()
    return VideosFound(
        folder=str(folder.relative_to(root) if folder.is_relative_to(root) else folder),
        archive=archive,
        found=len(found),
        missing=tuple(sorted(set(ids) - set(found))),
    )


def _nowhere(videos: Videos, source: Source, ids: Sequence[str]) -> str:
    if source.folder is None:
        return f"{filename(videos.url)} is published nowhere; name its folder with --source"
    return (
        f"There is neither {filename(videos.url)} nor any of the {len(ids)} listed videos in "
        f"{source.folder}; put them there, or build with --videos none"
    )
