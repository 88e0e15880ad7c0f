"""Numbers as people read them: scores, their differences and intervals, durations and sizes."""

from datetime import timedelta

from tqdm import tqdm


def score_text(value: float | None, digits: int = 3) -> str:
    """A metric, "0.151"; "" where it is not defined."""
    return "" if value is None else f"{value:.{digits}f}"


def difference_text(value: float, digits: int = 3) -> str:
    """A difference of metrics, with its sign: "+0.030"."""
    return f"{value:+.{digits}f}"


def interval_text(low: float, high: float, digits: int = 3) -> str:
    """An interval of differences: "[-0.010, +0.030]"."""
    return f"[{difference_text(low, digits)}, {difference_text(high, digits)}]"


def duration_text(seconds: float) -> str:
    """Hours, minutes and seconds, "1:23:45"; a second at least where it is not 0."""
    return str(timedelta(seconds=max(1, round(seconds)) if seconds else 0))


def size_text(size: float) -> str:
    """A number of bytes, "16.3GB": powers of ten, as disks and downloads count."""
    return tqdm.format_sizeof(size, "B", 1000)
