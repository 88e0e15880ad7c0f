"""TarIndex: the files of a tar on a server, found by several walks at once and kept on the disk."""

import json
import tarfile
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, cast

from meid_bench.benchmark.archives.archive import Entry, add_entry
from meid_bench.benchmark.archives.rangefile import RangeFile
from meid_bench.benchmark.archives.remote import Remote, RemoteError, Version
from meid_bench.benchmark.archives.tarfiles import HEADERS, walk
from meid_bench.benchmark.spec import filename
from meid_bench.codec import decode, read_json
from meid_bench.errors import DataError
from meid_bench.files import write_text
from meid_bench.progress import Progress

# A walk waits for an answer before it knows where to ask next: several of them wait together.
WALKS = 8
# A smaller tar is walked by one: looking for a header reads on average half a file.
WORTHWHILE = 64 << 20
CHUNK = 1 << 18
# Headers between two savings: what an interrupted walk loses at most.
SAVE_EVERY = 500


@dataclass(frozen=True)
class _Stretch:
    """Headers that one thread walks: from `next` to exactly `end`, or to the tar's end."""

    next: int
    end: int | None


@dataclass(frozen=True)
class _Index:
    """What is known of a tar.

    Attributes:
        version: Of the tar.
        stretches: Those not walked to their end yet; none once all is known.
        files: Path to entry.
    """

    version: Version
    stretches: tuple[_Stretch, ...]
    files: Mapping[str, Entry]


def tar_entries(remote: Remote, path: Path) -> Mapping[str, Entry]:
    """Path to entry of every file of a tar on a server, in its order.

    A tar has no directory, so that its headers must be visited one by one. Eight walks start
    at once, each at the first header found behind an eighth of the tar; each must arrive
    exactly where the next one began, or else a single walk does it all.

    Args:
        remote: The tar.
        path: Where the index is kept: it is walked once, and a walk that was interrupted goes on.

    Raises:
        NoRangesError, ChangedError, DataError: As `Remote.version`; or the tar is cut, or not
            fit to be unpacked.
    """
    version = remote.version()
    index = _load(path, version)
    if index is None:
        index = _Index(version, _begin(remote, version.size or 0), {})
    try:
        return _Walks(remote, path, index).run()
    except RemoteError:
        raise
    except DataError:
        anew = _Index(version, (_Stretch(0, None),), {})
        if index == anew:
            raise
        # What was taken for a header was none, or the tar is damaged: one walk will tell.
        return _Walks(remote, path, anew).run()


class _Walks:
    """The walks of one tar, and what they share."""

    def __init__(self, remote: Remote, path: Path, index: _Index) -> None:
        self._remote, self._path = remote, path
        self._version = index.version
        self._stretches = dict(enumerate(index.stretches))
        self._files = dict(index.files)
        self._lock = threading.Lock()
        self._halted = False
        label = f"index of {filename(remote.url)}"
        left = sum((s.end or index.version.size or 0) - s.next for s in index.stretches)
        total = index.version.size or 0
        self._progress = Progress(total, label, "bytes", done=total - left)

    def run(self) -> Mapping[str, Entry]:
        """Walk every stretch to its end."""
        if self._stretches:
            with self._progress, ThreadPoolExecutor(len(self._stretches)) as pool:
                futures = [pool.submit(self._walk, number) for number in list(self._stretches)]
                try:
                    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                except BaseException:
                    self._remote.stop()
                    raise
                finally:
                    self._halted = True
            for future in (*done, *futures):  # the first error first
                future.result()
            self._save()
        return dict(sorted(self._files.items(), key=lambda item: item[1].offset))

    def _walk(self, number: int) -> None:
        stretch = self._stretches[number]
        file = cast(IO[bytes], RangeFile(self._remote, ahead=HEADERS))
        position = stretch.next
        for step in walk(file, self._remote.url, position):
            with self._lock:
                add_entry(self._files, step.path, step.entry, self._remote.url)
                self._stretches[number] = replace(stretch, next=step.next)
                self._progress.update(step.next - position, f"{len(self._files)} files")
                if len(self._files) % SAVE_EVERY == 0:
                    self._save()
            position = step.next
            if self._halted or position == stretch.end:
                break
            if stretch.end is not None and position > stretch.end:
                raise DataError(f"{self._remote.url}: no header begins at byte {stretch.end}")
        if not self._halted or position == stretch.end:
            with self._lock:
                del self._stretches[number]

    def _save(self) -> None:
        left = tuple(stretch for stretch in self._stretches.values() if stretch.next != stretch.end)
        index = _Index(self._version, left, self._files)
        write_text(self._path, json.dumps(asdict(index), separators=(",", ":")))


def _load(path: Path, version: Version) -> _Index | None:
    """The index kept of that version, or None."""
    with suppress(OSError, ValueError):
        index = decode(_Index, read_json(path))
        return index if index.version == version else None
    return None


def _begin(remote: Remote, size: int) -> tuple[_Stretch, ...]:
    """Divide a tar into stretches at headers near its eighths."""
    if size < WORTHWHILE:
        return (_Stretch(0, None),)
    bounds = [
        size * part // WALKS // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE for part in range(WALKS)
    ]
    with ThreadPoolExecutor(WALKS) as pool:
        found = pool.map(
            lambda bound: _find_header(remote, *bound),
            zip(bounds[1:], [*bounds[2:], size], strict=True),
        )
        starts = [0, *(start for start in found if start is not None)]
    return tuple(
        _Stretch(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)
    )


def _find_header(remote: Remote, start: int, limit: int) -> int | None:
    """Where the first header in [start, limit) begins; None if there is none."""
    with RangeFile(remote) as file:
        for position in range(start, limit, CHUNK):
            file.seek(position)
            chunk = file.read(CHUNK)
            for begin in range(0, len(chunk), tarfile.BLOCKSIZE):
                block = chunk[begin : begin + tarfile.BLOCKSIZE]
                # Almost no block of a video passes the first test, and none the header's sum.
                if block[257:262] == b"ustar":
                    with suppress(tarfile.HeaderError):
                        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
                        return position + begin
    return None
