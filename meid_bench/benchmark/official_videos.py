"""The listed videos: used where they lie, or unpacked from an archive on the disk or a server."""

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from meid_bench.benchmark.archives.archive import Archive, open_archive
from meid_bench.benchmark.archives.remote import ChangedError, NoRangesError, Remote
from meid_bench.benchmark.archives.remote_zip import RemoteZip
from meid_bench.benchmark.archives.unpack import unpack
from meid_bench.benchmark.build_manifest import OfficialFile, VideosFound
from meid_bench.benchmark.download import check_size, download, verify_file
from meid_bench.benchmark.source import Source, find_file
from meid_bench.benchmark.spec import ID, VideoArchive, filename
from meid_bench.benchmark.video_folder import find_videos
from meid_bench.codec import check_recordable, decode, read_json, write_json
from meid_bench.errors import DataError
from meid_bench.files import downloads_dir, videos_dir

Mode = Literal["needed", "all", "none"]

# Connections at once: enough to hide the latency, few enough for a public server.
CONNECTIONS = 8
# How often reading starts again where the archive changes on the server meanwhile.
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
    archive: OfficialFile | None = None
    transfer: Transfer | None = None


@dataclass(frozen=True)
class _Unpacked:
    """What a folder of videos was unpacked from, and whether all of it was."""

    archive: OfficialFile
    whole: bool


def gather_videos(
    videos: VideoArchive, ids: Sequence[str], source: Source, root: Path, mode: Mode
) -> Gathered:
    """Find the listed videos, and unpack or fetch what is missing.

    A folder of the source that holds them is used in place, as is what an earlier build
    unpacked; then comes an archive in the source's folder or among the downloads; then, where
    no folder was named, the address: only the needed members of a zip where the server serves
    ranges, a tar as a whole, since it has no directory.

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
    folders = [home]
    if source.folder is not None:
        folders = [source.folder / PurePosixPath(videos.member).parent, source.folder, home]
    folder = max(folders, key=lambda folder: len(find_videos(folder, ids)))
    in_place = record_videos(folder, videos.archive, ids, root)
    unpacked = _unpacked(home) if folder == home else None
    whole = unpacked is not None and unpacked.whole
    if mode == "none" or (not in_place.missing and (mode == "needed" or whole)):
        origin = None if unpacked is None else unpacked.archive
        return Gathered(in_place if in_place.found else None, origin)
    wanted = None if mode == "all" else set(ids)
    transfer = None
    path = find_file(filename(videos.url), [source.folder or downloads_dir(root)])
    if path is not None:
        origin = verify_file(path, videos.bytes, videos.sha256)
        _take(lambda: open_archive(path), origin, videos, wanted, home)
    elif source.folder is None and "://" in (url := source.url(videos.url)):
        origin, transfer = _fetch(url, videos, wanted, root)
    elif in_place.found:
        return Gathered(in_place)
    elif source.folder is None:
        raise DataError(
            f"{filename(videos.url)} is published nowhere; name its folder with --source"
        )
    else:
        raise DataError(
            f"There is neither {filename(videos.url)} nor any of the {len(ids)} listed videos in "
            f"{source.folder}; put them there, or build with --videos none"
        )
    taken = record_videos(home, videos.archive, ids, root)
    if not taken.found:
        raise DataError(
            f"{origin.path} holds none of the {len(ids)} listed videos, such as "
            f"{videos.member.replace(ID, ids[0])}; is it the right archive?"
        )
    return Gathered(taken, origin, transfer)


def record_videos(folder: Path, archive: str, ids: Sequence[str], root: Path) -> VideosFound:
    """What a folder holds of the listed videos, as the manifest says it."""
    present = find_videos(folder, ids)
    folder, root = folder.resolve(), root.resolve()
    path = str(folder.relative_to(root) if folder.is_relative_to(root) else folder)
    check_recordable(path, "the path of the videos")
    return VideosFound(
        folder=path,
        archive=archive,
        found=len(present),
        missing=tuple(sorted(set(ids) - set(present))),
    )


def _fetch(
    url: str, videos: VideoArchive, wanted: Collection[str] | None, root: Path
) -> tuple[OfficialFile, Transfer | None]:
    """Take members from a zip on a server, or fetch the whole archive where that must be."""
    home = videos_dir(root, videos.archive)
    if wanted is not None and filename(url).lower().endswith(".zip"):
        try:
            return _fetch_members(url, videos, wanted, home)
        except NoRangesError as error:
            log.warning("%s; fetching the whole archive", error)
    path = downloads_dir(root) / filename(url)
    origin = download(url, path, videos.bytes, videos.sha256)
    _take(lambda: open_archive(path), origin, videos, wanted, home)
    return origin, None


def _fetch_members(
    url: str, videos: VideoArchive, wanted: Collection[str], home: Path, attempts: int = ATTEMPTS
) -> tuple[OfficialFile, Transfer]:
    remote = Remote(url)
    version = remote.version()
    check_size(url, version.size, videos.bytes)
    origin = OfficialFile(url, version.size, etag=version.etag)
    try:
        tail = RemoteZip(remote).tail
        opener = lambda: RemoteZip(remote, tail)  # noqa: E731
        _take(opener, origin, videos, wanted, home, CONNECTIONS, remote.stop)
    except ChangedError as error:
        if attempts == 1:
            raise
        log.warning("%s; starting again", error)
        return _fetch_members(url, videos, wanted, home, attempts - 1)
    return origin, Transfer(remote.fetched, remote.requests, version.size or 0)


def _take(
    opener: Callable[[], Archive],
    origin: OfficialFile,
    videos: VideoArchive,
    wanted: Collection[str] | None,
    home: Path,
    workers: int = 1,
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Unpack the wanted ids' missing videos, or all; what another version left is removed."""
    with opener() as archive:
        members = _members(archive, videos)
        files = {
            member: home / f"{name}{PurePosixPath(member).suffix}"
            for name, member in members.items()
        }
        before = _unpacked(home)
        if before is None or not _same(before.archive, origin):
            for member, file in files.items():
                if not archive.holds(member, file, thorough=True):
                    file.unlink(missing_ok=True)
        missing = {
            member: files[member]
            for name, member in members.items()
            if (wanted is None or name in wanted)
            and not archive.holds(member, files[member], thorough=False)
        }
        size = sum(archive.entries[member].size for member in missing)
    for left in home.glob(".*.tmp"):  # by a build that was killed; no other is at work
        left.unlink()
    _note(home, _Unpacked(origin, False))
    unpack(opener, missing, size, workers, stop)
    _note(home, _Unpacked(origin, wanted is None))


def _members(archive: Archive, videos: VideoArchive) -> dict[str, str]:
    """Id to member of every video in the archive, in the archive's order.

    A video is known by its file's name: the folders inside an archive are what its maker's
    tool made of them.

    Raises:
        DataError: Two members have the name of one video.
    """
    before, after = PurePosixPath(videos.member).name.split(ID)
    members: dict[str, str] = {}
    for path in archive.entries:
        name = PurePosixPath(path).name
        if not (name.startswith(before) and name.endswith(after)):
            continue
        video = name[len(before) : len(name) - len(after)]
        if video in members:
            raise DataError(
                f"{archive.label} holds video {video!r} twice, {members[video]} and {path}; "
                "it is not the official archive"
            )
        members[video] = path
    return members


def _same(one: OfficialFile, other: OfficialFile) -> bool:
    """Whether two files are one: by sum where both were read whole, else by all that is known."""
    return one == other or (one.sha256 is not None and one.sha256 == other.sha256)


def _unpacked(home: Path) -> _Unpacked | None:
    with suppress(OSError, ValueError):
        return decode(_Unpacked, read_json(home / VERSION))
    return None


def _note(home: Path, unpacked: _Unpacked) -> None:
    write_json(home / VERSION, unpacked)
