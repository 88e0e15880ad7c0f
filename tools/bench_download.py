"""What `build --videos needed` costs: bytes, requests and time against a server on this machine.

    python tools/bench_download.py [--annotations DIR] [--size 100000]

The server holds a made-up archive with as many members as Charades has videos, random bytes
each, under their real ids where the official csv files are at hand. CharadesLT's videos are
fetched from it, then once more with every fifth connection cut in its middle, and compared byte
for byte. (A tar is fetched whole, as any file is.)
"""

import argparse
import csv
import multiprocessing
import random
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from meid_bench.benchmark.benchmark import SPLITS  # noqa: E402
from meid_bench.benchmark.official_videos import gather_videos  # noqa: E402
from meid_bench.benchmark.source import Source  # noqa: E402
from meid_bench.benchmark.spec import VideoArchive  # noqa: E402
from meid_bench.files import packaged_splits  # noqa: E402
from tests.file_server import FileServer, Shelf  # noqa: E402

MEMBERS = 9848
MEMBER = "Charades_v1_480/{id}.mp4"


def main() -> None:
    """Make the zip, fetch from it, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotations", type=Path, default=ROOT.parent / "shared/data/charades")
    parser.add_argument("--size", type=int, default=100_000, help="bytes of each member")
    arguments = parser.parse_args()
    listed = [
        name
        for split in SPLITS
        for name in (packaged_splits() / "charadeslt" / f"{split}.txt").read_text().split()
    ]
    ids = all_ids(arguments.annotations, listed)
    with tempfile.TemporaryDirectory(prefix="meid-bench-") as scratch:
        path = Path(scratch) / "videos.zip"
        write_zip(path, ids, arguments.size)
        rows = [fetch(path, cut, listed, arguments.size) for cut in (0, 5)]
    columns = "needed MB", "fetched MB", "fetched / needed", "requests", "seconds", "identical"
    print(f"\n{len(listed)} of {len(ids)} members of {arguments.size} bytes:\n")
    print(tabulate(rows, headers=("connections cut", *columns), floatfmt=".4g"))


def all_ids(annotations: Path, listed: list[str]) -> list[str]:
    """The real ids of all videos, or made-up ones beside those that are listed."""
    try:
        ids = []
        for part in ("train", "test"):
            with (annotations / f"Charades_v1_{part}.csv").open(newline="") as file:
                ids += [row["id"] for row in csv.DictReader(file)]
    except FileNotFoundError:
        ids = [*listed, *(f"X{number:05d}" for number in range(MEMBERS - len(listed)))]
    return sorted(ids)


def contents(name: str, size: int) -> bytes:
    """The bytes of one member, the same each time."""
    return random.Random(name).randbytes(size)


def write_zip(path: Path, ids: list[str], size: int) -> None:
    """Write all members as a 64-bit zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ids:
            with archive.open(MEMBER.format(id=name), "w", force_zip64=True) as member:
                member.write(contents(name, size))


def fetch(path: Path, cut: int, listed: list[str], size: int) -> tuple[object, ...]:
    """Fetch the listed members from a server of their own process; a row of the table."""
    with tempfile.TemporaryDirectory(prefix="meid-bench-") as root, serving(path, cut) as url:
        videos = VideoArchive("made", f"{url}/{path.name}", path.stat().st_size, None, MEMBER)
        begun = time.perf_counter()
        gathered = gather_videos(videos, listed, Source(), Path(root), "needed")
        seconds = time.perf_counter() - begun
        folder = Path(root) / "videos" / "made"
        same = all((folder / f"{name}.mp4").read_bytes() == contents(name, size) for name in listed)
        same = same and len(list(folder.glob("*.mp4"))) == len(listed)
    assert gathered.transfer is not None
    needed = len(listed) * size
    return (
        f"{1 / cut:.0%}" if cut else "none",
        needed / 1e6,
        gathered.transfer.fetched / 1e6,
        gathered.transfer.fetched / needed,
        gathered.transfer.requests,
        seconds,
        "yes" if same else "NO",
    )


@contextmanager
def serving(path: Path, cut: int) -> Iterator[str]:
    """Serve one file from another process, so that it does not share our interpreter."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(path, cut, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("stop")
        process.join()


def serve(path: Path, cut: int, pipe: "multiprocessing.connection.Connection") -> None:
    """Serve until told to stop."""
    shelf = Shelf({path.name: path}, {path.name: '"made"'}, cut=cut)
    with FileServer(shelf) as server:
        pipe.send(server.url)
        pipe.recv()


if __name__ == "__main__":
    main()
