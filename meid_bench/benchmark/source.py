"""Source: where official files come from, a server or a folder; the annotation files from it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from meid_bench.benchmark.archives.archive import open_archive
from meid_bench.benchmark.build_manifest import OfficialFile
from meid_bench.benchmark.download import download, verify_file
from meid_bench.benchmark.spec import AnnotationArchive, filename
from meid_bench.errors import DataError, SettingError
from meid_bench.files import downloads_dir


@dataclass(frozen=True, slots=True)
class Source:
    """What `--source` names.

    Attributes:
        folder: Of official files on the disk, or None.
        mirror: The address to take the place of the official one, or None.
    """

    folder: Path | None = None
    mirror: str | None = None

    @classmethod
    def parse(cls, text: str | Path | None) -> "Source":
        """Read a folder or an http(s) address; None is the official address.

        Raises:
            SettingError: It is neither.
        """
        if text is None:
            return cls()
        with suppress(ValueError):  # brackets that are no IPv6 address
            parts = urlsplit(str(text))
            if parts.scheme in ("http", "https") and parts.hostname:
                return cls(mirror=str(text))
        folder = Path(text)
        if not folder.is_dir():
            raise SettingError(
                f"The source {str(text)!r} is neither a folder nor an address; "
                "name a folder that exists, or http(s)://..."
            )
        return cls(folder=folder)

    def url(self, official: str) -> str:
        """The address to fetch a file from."""
        if self.mirror is None:
            return official
        return f"{self.mirror.rstrip('/')}/{filename(official)}"


@contextmanager
def annotation_files(
    annotations: AnnotationArchive, source: Source, root: Path, beside: Path, by_sum: bool
) -> Iterator[tuple[dict[str, Path], dict[str, OfficialFile]]]:
    """Find, or fetch and unpack, the annotation files.

    They are looked for unpacked, then zipped: in the source's folder where one was named,
    beside the spec.json, and otherwise among what was fetched before; then they are fetched. What
    is fetched is verified by size and sum: these tell a broken download. Files that were there
    already may have been saved anew by whoever passed them on; what they say decides.

    Args:
        annotations: What the specification says of them.
        source: Where to look.
        root: The data root.
        beside: The folder of the spec.json.
        by_sum: Verify an archive that is there already too, for want of a fingerprint to tell
            whether it is the right one.

    Yields:
        Role to file, readable inside the `with`, and what was found, for the manifest.

    Raises:
        DataError: They are nowhere, cannot be fetched, or are not what they should be.
    """
    downloads = downloads_dir(root)
    folders = [source.folder, beside] if source.folder is not None else [beside, downloads]
    for folder in folders:
        if files := _unpacked(annotations.members, folder):
            yield files, {role: verify_file(file) for role, file in files.items()}
            return
    path = find_file(filename(annotations.url), folders)
    if path is not None:
        origin = (
            verify_file(path, annotations.bytes, annotations.sha256)
            if by_sum
            else verify_file(path)
        )
    elif source.folder is None and "://" in (url := source.url(annotations.url)):
        path = downloads / filename(annotations.url)
        origin = download(url, path, annotations.bytes, annotations.sha256)
    else:
        names = ", ".join(PurePosixPath(member).name for member in annotations.members.values())
        raise DataError(
            f"There is neither {filename(annotations.url)} nor all of {names} in "
            f"{' or '.join(map(str, dict.fromkeys(folders)))}; put them there, or leave --source "
            "out to fetch them (a folder of videos alone is --video-dir)"
        )
    with TemporaryDirectory(prefix="meid-bench-") as scratch, open_archive(path) as archive:
        files = {role: Path(scratch) / role for role in annotations.members}
        for role, member in annotations.members.items():
            archive.copy(archive.find(member), files[role])
        yield files, {"annotations": origin}


def find_file(name: str, folders: Sequence[Path]) -> Path | None:
    """The first of the folders' files of that name, or None."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _unpacked(members: Mapping[str, str], folder: Path) -> dict[str, Path] | None:
    """Every member's file in a folder, with or without the archive's own folders; or None."""
    for flat in (False, True):
        paths = {role: PurePosixPath(member) for role, member in members.items()}
        files = {role: folder / (path.name if flat else path) for role, path in paths.items()}
        if files and all(file.is_file() for file in files.values()):
            return files
    return None
