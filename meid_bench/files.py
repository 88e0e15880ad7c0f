"""Where things are: the data root's folders and the packaged files; the only place that knows."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOME_VARIABLE = "MEID_BENCH_HOME"


def home() -> Path:
    """The data root: $MEID_BENCH_HOME, or ./data."""
    return Path(os.environ.get(HOME_VARIABLE) or "data")


def packaged_splits() -> Path:
    """The folder of packaged split specifications, in a wheel or in a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "splits"
    return installed if installed.is_dir() else here.parent / "splits"


def benchmark_dir(root: Path, benchmark: str) -> Path:
    """What `build` wrote of one benchmark: benchmark.json and manifest.json."""
    return root / "benchmarks" / benchmark


def downloads_dir(root: Path) -> Path:
    """Official files as they were fetched."""
    return root / "downloads"


def videos_dir(root: Path, archive: str) -> Path:
    """Unpacked videos of one archive; benchmarks from the same archive share them."""
    return root / "videos" / archive


def features_dir(root: Path, benchmark: str) -> Path:
    """The feature stores of one benchmark, a folder each."""
    return root / "features" / benchmark


def runs_dir(root: Path, benchmark: str) -> Path:
    """The runs of one benchmark, a folder each with its record."""
    return root / "runs" / benchmark


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is synced and takes that name.

    A kill at any moment leaves either the old file or the new one, never a part of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    # By the system's own rule for new files: to ask for the umask is to set it, for all threads.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file or nothing."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
