"""VideoSource: the listed videos, found in place or unpacked from an archive here or far away."""

import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from meid_bench.archive import Archive, open_archive
from meid_bench.build_manifest import Found, VideosFound
from meid_bench.download import verify
from meid_bench.errors import DataError
from meid_bench.paths import downloads_dir, videos_dir
from meid_bench.source import Source, find_file
from meid_bench.spec import ID, Videos, filename
from meid_bench.unpack import unpack
from meid_bench.videofolder import find_videos

Mode = Literal["needed", "all", "none"]
MODES: tuple[Mode, ...] = ("needed", "all", "none")

log = logging.getLogger(__name__)


def gather_videos(
    videos: Videos, ids: Sequence[str], source: Source, root: Path, mode: Mode
) -> tuple[VideosFound | None, Found | None]:
    """Find the listed videos, and unpack what is not there yet.

    A folder of the source that holds them is used in place, as is what an earlier build
    unpacked; then comes an archive in the source's folder or among the downloads; then, where
    no folder was named, the address.

    Args:
        videos: What the specification says of them.
        ids: The listed videos.
        source: Where to look.
        root: The data root.
        mode: "needed" takes the listed videos out of the archive, "all" every one of it,
            "none" only looks for what lies in folders.

    Returns:
        Where they lie, or None with mode "none" and no video anywhere; and the archive, where
        one was opened.

    Raises:
        DataError: There is nothing to take them from, or it is damaged.
    """
    home = videos_dir(root, videos.archive)
    folder = max(_folders(videos, source, home), key=lambda folder: len(find_videos(folder, ids)))
    found = find_videos(folder, ids)
    if mode == "none" or len(found) == len(set(ids)):
        return (_record(videos, folder, ids, root), None) if found else (None, None)
    folders = [downloads_dir(root)] if source.folder is None else [source.folder]
    path = find_file(filename(videos.url), folders)
    if path is not None:
        origin = verify(path, videos.bytes, videos.sha256)
        with open_archive(path) as archive:
            wanted = members_of(archive, videos, ids, home, mode)
        unpack(lambda: open_archive(path), wanted, workers=1)
        return _record(videos, home, ids, root), origin
    if found and source.folder is not None:
        return _record(videos, folder, ids, root), None
    raise DataError(
        f"There is neither {filename(videos.url)} nor a folder with any of the {len(ids)} listed "
        f"videos in {source.folder}; put them there, or build with --videos none"
    )


def members_of(
    archive: Archive, videos: Videos, ids: Sequence[str], home: Path, mode: Mode
) -> dict[str, Path]:
    """The members still to be unpacked, in the archive's order, and the files they become."""
    member = PurePosixPath(videos.member)
    before, after = videos.member.split(ID)
    present = {
        path.removeprefix(before).removesuffix(after): path
        for path in archive.entries
        if path.startswith(before) and path.endswith(after)
    }
    chosen = present if mode == "all" else {name: present[name] for name in ids if name in present}
    targets = {path: home / f"{name}{member.suffix}" for name, path in chosen.items()}
    missing = {path: target for path, target in targets.items() if not _same(archive, path, target)}
    return dict(sorted(missing.items(), key=lambda item: archive.entries[item[0]].offset))


def _same(archive: Archive, path: str, target: Path) -> bool:
    """Whether a file is there already; one of another size is not that member."""
    return target.is_file() and target.stat().st_size == archive.entries[path].size


def _folders(videos: Videos, source: Source, home: Path) -> list[Path]:
    """Where videos may lie unpacked, in the order of preference."""
    if source.folder is None:
        return [home]
    return [source.folder / PurePosixPath(videos.member).parent, source.folder, home]


def _record(videos: Videos, folder: Path, ids: Sequence[str], root: Path) -> VideosFound:
    found = find_videos(folder, ids)
    folder, root = folder.resolve(), root.resolve()
    return VideosFound(
        folder=str(folder.relative_to(root) if folder.is_relative_to(root) else folder),
        archive=videos.archive,
        found=len(found),
        missing=tuple(sorted(set(ids) - set(found))),
    )
