"""The errors that a user can mend: each is one sentence, printed without a traceback."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

# Names that an error lists: thousands of video ids would bury the sentence.
LISTED = 60
FIRST_FEW = 5


class MeidBenchError(Exception):
    """Anything that input, data or a setting did wrong; the command line exits with 1."""


class DataError(MeidBenchError):
    """A file or a download is missing, damaged, or not what it should be."""


class SettingError(MeidBenchError):
    """A name or a value given by the user is unknown or out of range."""


class MethodError(MeidBenchError):
    """A method breaks its contract: a wrong shape, a NaN, nothing to train."""


def listing(names: Sequence[str], most: int = FIRST_FEW) -> str:
    """The first names, and how many more there are: "a, b, c and 7 more"."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def first_line(error: Exception) -> str:
    """The first line of what another library says, or the name of an error that says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def unknown(kind: str, name: str, known: Iterable[str]) -> SettingError:
    """Say that `name` is no known `kind`, and offer the nearest one.

    Args:
        kind: What the name should have been, for example "method".
        name: What was given.
        known: Every valid name.
    """
    choices = sorted(known)
    nearest = get_close_matches(name, choices, n=1, cutoff=0.5)
    listed = listing(choices, LISTED) or "none"
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {listed}"
    return SettingError(f"There is no {kind} {name!r}; {hint}")
