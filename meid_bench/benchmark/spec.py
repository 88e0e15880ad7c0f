"""Spec: one benchmark as its spec.json tells it: where the files are, how they split, the bins."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from meid_bench.benchmark.benchmark import SPLITS
from meid_bench.benchmark.longtail import Bins, Statistics
from meid_bench.benchmark.video_folder import SUFFIXES
from meid_bench.codec import decode, encode, read_json
from meid_bench.errors import DataError, SettingError, unknown
from meid_bench.files import packaged_splits

SPEC_FILE = "spec.json"
ID = "{id}"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_name(name: str) -> str:
    """Return a benchmark's or an archive's name.

    Raises:
        ValueError: It cannot be a folder's name on every system.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be a name; use up to 100 small letters, digits, '-' and '_', as in "
            "'kitchen-2'"
        )
    return name


def filename(url: str) -> str:
    """The name that the file behind an address, or a bare file name, has on a disk."""
    return PurePosixPath(unquote(urlsplit(url).path)).name


@dataclass(frozen=True, slots=True)
class AnnotationArchive:
    """The archive of annotation files.

    Attributes:
        url: Its address, or a bare file name where it is published nowhere.
        bytes: Its size, or None where none was published: then what was seen is recorded.
        sha256: Its sum, hexadecimal, or None likewise.
        members: Role ("train", "val", "test", "classes", "labels") to the path of that file in
            the archive; it may also lie unpacked in a folder.
    """

    url: str
    bytes: int | None
    sha256: str | None
    members: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse an address without a file's name, and a sum that is none."""
        _check_origin(self.url, self.sha256)


@dataclass(frozen=True, slots=True)
class VideoArchive:
    """The archive of videos; `url`, `bytes` and `sha256` as in `AnnotationArchive`.

    Attributes:
        archive: Its short name; the folder of the unpacked videos has it.
        member: A video's path inside the archive, "{id}" standing for its id.
    """

    archive: str
    url: str
    bytes: int | None
    sha256: str | None
    member: str

    def __post_init__(self) -> None:
        """Refuse what would name no file, or all of them the same one."""
        check_name(self.archive)
        _check_origin(self.url, self.sha256)
        if self.member.count(ID) != 1:
            raise ValueError(f"member {self.member!r} must hold {ID!r} once")
        if PurePosixPath(self.member).suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"member {self.member!r} must end as a video does, in .mp4 for example"
            )


@dataclass(frozen=True, slots=True)
class Sources:
    """The official files of a benchmark; no archive of videos where there is none to fetch."""

    annotations: AnnotationArchive
    videos: VideoArchive | None


@dataclass(frozen=True, slots=True)
class OriginalList:
    """A list as its authors published it: its path there, and the file's sum."""

    path: str
    sha256: str

    def __post_init__(self) -> None:
        """Refuse a sum that is none."""
        _check_sum(self.sha256)


@dataclass(frozen=True, slots=True)
class ListsOrigin:
    """Where lists of ids that somebody else published were taken from.

    Attributes:
        url: The repository's address.
        commit: Its commit.
        licence: Under which the lists stand there.
        files: Split to the file there.
    """

    url: str
    commit: str
    licence: str
    files: Mapping[str, OriginalList]


@dataclass(frozen=True)
class Spec:
    """A spec.json, checked.

    Attributes:
        name: The benchmark's name, its folder's too.
        title: The heading of its board.
        format: Which reader its annotation files need.
        sources: Where its files are published.
        bins: Bounds of head, medium and tail by training count.
        frames: T, frames per video.
        training_frames: Frames drawn of these in each training step; None for all.
        expected: The paper's Table 1 row, or None.
        published: The data set's name in the packaged published results, or None.
        lists: Split to its file of ids beside spec.json; None where the lists come with the
            official files.
        lists_origin: Who published these lists; None where they were made here.
        checks: File of check bytes beside spec.json (see `assemble.py`), or None.
        fingerprint: The benchmark's; annotation files that give another one are refused. None
            where the specification does not say.
        citation: How to cite it.
        licence: Under which licence its data stand.
    """

    name: str
    title: str
    format: Literal["charades", "charadesego", "videolt", "csv"]
    sources: Sources
    bins: Bins
    frames: int
    training_frames: int | None
    expected: Statistics | None
    published: str | None
    lists: Mapping[str, str] | None
    lists_origin: ListsOrigin | None
    checks: str | None
    fingerprint: str | None
    citation: str
    licence: str

    def __post_init__(self) -> None:
        """Refuse what fits the types and makes no sense."""
        check_name(self.name)
        encode(self.title, "title")  # JSON may spell half of a surrogate pair, which is no text
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, not {self.frames}")
        if self.training_frames is not None and not 1 <= self.training_frames <= self.frames:
            raise ValueError(f"training_frames must be 1 to {self.frames}: {self.training_frames}")
        if self.lists is not None and set(self.lists) != set(SPLITS):
            raise ValueError(f"lists must name {', '.join(SPLITS)}, not {', '.join(self.lists)}")
        _check_sum(self.fingerprint, "fingerprint")


def find_spec(which: str | Path) -> Path:
    """The folder of a packaged specification by its name, or any folder that holds a spec.json.

    A path to the spec.json itself will do.

    Raises:
        SettingError: It is neither.
    """
    if str(which) in packaged_specs():
        return packaged_splits() / which
    folder = Path(which)
    if folder.name == SPEC_FILE:
        folder = folder.parent
    if (folder / SPEC_FILE).is_file():
        return folder
    if folder.is_dir():
        raise SettingError(f"{folder} holds no {SPEC_FILE}; name a folder with one, or a dataset")
    raise unknown("dataset", str(which), packaged_specs())


def packaged_specs() -> list[str]:
    """Names of the specifications that come with the toolkit, sorted."""
    return sorted(path.parent.name for path in packaged_splits().glob(f"*/{SPEC_FILE}"))


def load_spec(folder: Path) -> Spec:
    """Read a folder's spec.json.

    A file with the key "base" says only what differs from the spec.json of that neighbouring
    folder, at any depth; its lists, where it has some, lie in its own folder.

    Raises:
        DataError: It is not JSON, or a key is missing, unknown or of the wrong type.
    """
    path = folder / SPEC_FILE
    try:
        data = _read(path)
        if "base" in data:
            base = folder.resolve().parent / check_name(str(data.pop("base")))
            data = _overlaid(_read(base / SPEC_FILE), data)
        return decode(Spec, data)
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror}); name a folder that holds it"
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: {error}; correct the file and build again") from error


def _read(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict):
        raise ValueError("it must hold an object")
    return data


def _overlaid(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(merged.get(key), dict) and isinstance(value, dict)
        merged[key] = _overlaid(merged[key], value) if both else value
    return merged


def _check_origin(url: str, sha256: str | None) -> None:
    if not filename(url) or filename(url).startswith("."):
        raise ValueError(f"url {url!r} must end in a file's name")
    _check_sum(sha256)


def _check_sum(sha256: str | None, name: str = "sha256") -> None:
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise ValueError(f"{name} {sha256!r} must be 64 hexadecimal digits in small letters")
