"""Annotation: what an official file says of one video, whichever data set it came from."""

from dataclasses import dataclass

# Bytes of an id: with a suffix behind it, it is a file's name, which has 255 at most.
LONGEST_ID = 200


@dataclass(frozen=True, slots=True)
class Interval:
    """A class that happens from `start` to `end`, in seconds from the video's beginning."""

    label: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Annotation:
    """One video's labels and what is needed to split and to inspect it.

    Attributes:
        id: The video's name in its data set; the file is `<id>.<suffix>`.
        labels: Class indices, ascending, each once; none for a video without any class.
        intervals: When each class happens, where that is known; otherwise empty.
        subject: Who acts, or the group that one's own csv names; None where nobody says.
        script: What was to be acted; None where the data set does not say.
        length: Seconds, or None.
        view: "first" or "third" person, or None.
        pair: A name that paired views of one recording share, or None.
    """

    id: str
    labels: tuple[int, ...]
    intervals: tuple[Interval, ...] = ()
    subject: str | None = None
    script: str | None = None
    length: float | None = None
    view: str | None = None
    pair: str | None = None


def id_fault(name: str) -> str | None:
    """Say what makes `name` unfit as a video id, or None.

    An id is the name of a file in one folder and a cell of tab-separated lines, so that it may hold
    neither a folder nor a control character.
    """
    if not name or name != name.strip():
        return f"video id {name!r} is empty or has space around it"
    if name.startswith(".") or any(char in "/\\" or not char.isprintable() for char in name):
        return f"video id {name!r} cannot be a file's name, which holds no folder"
    if len(name.encode(errors="replace")) > LONGEST_ID:
        return f"video id {name[:40]!r}... is longer than the {LONGEST_ID} bytes of a file's name"
    return None
