"""Build: official files -> a benchmark with its videos, and the manifest that says from what."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from meid_bench import __version__
from meid_bench.assemble import assemble
from meid_bench.benchmark import Benchmark, save_benchmark
from meid_bench.build_manifest import (
    FILE,
    SCHEMA,
    BuildManifest,
    Found,
    load_manifest,
    save_manifest,
)
from meid_bench.disk import named_when_full
from meid_bench.errors import DataError
from meid_bench.paths import benchmark_dir
from meid_bench.source import Source, annotation_files
from meid_bench.spec import find_spec, load_spec
from meid_bench.video_source import Gathered, Mode, Transfer, gather_videos


@dataclass(frozen=True)
class BuildResult:
    """What was built.

    Attributes:
        benchmark: The benchmark.
        manifest: From what, and where its videos lie.
        folder: Where both were written.
        missed: A sentence for each target that a computed split missed.
        transfer: What fetching single videos took; None where no archive was read that way.
    """

    benchmark: Benchmark
    manifest: BuildManifest
    folder: Path
    missed: tuple[str, ...]
    transfer: Transfer | None


def build(
    which: str | Path,
    root: Path,
    source: str | Path | None = None,
    videos: Mode = "needed",
    *,
    allow_inexact: bool = False,
) -> BuildResult:
    """Build a benchmark; run again, it does only what is missing.

    Args:
        which: A packaged dataset's name, or a folder with a spec.json.
        root: The data root.
        source: A folder of official files, zipped or unpacked, or the address of a mirror;
            None for the official address.
        videos: "needed" for the listed videos, "all" for the whole archive, "none" for those
            that lie in a folder already, if any.
        allow_inexact: Build also where a computed split misses a target.

    Raises:
        MeidBenchError: Anything that the files, the network, the disk or a setting did wrong.
    """
    spec_folder = find_spec(which)
    spec = load_spec(spec_folder)
    origin = Source.parse(source)
    folder = benchmark_dir(root, spec.name)
    with _alone(root), named_when_full(root):
        with annotation_files(spec.sources.annotations, origin, root, spec_folder) as (
            files,
            sources,
        ):
            benchmark, missed = assemble(spec, spec_folder, files)
        if missed and not allow_inexact:
            raise DataError(
                f"{spec.name} cannot be split as its recipe asks: {'; '.join(missed)}; build with "
                "--allow-inexact to take the nearest split found"
            )
        _save(benchmark, root)
        gathered = Gathered(None)
        if spec.sources.videos is not None:
            ids = benchmark.all_ids()
            gathered = gather_videos(spec.sources.videos, ids, origin, root, videos)
        manifest = _manifest(benchmark, sources, gathered)
        save_manifest(manifest, root)
    return BuildResult(benchmark, manifest, folder, tuple(missed), gathered.transfer)


def _alone(root: Path) -> "_Lock":
    return _Lock(root / ".build.lock")


class _Lock:
    """One build at a time in a data root: two would fetch the same files into one another."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path, timeout=0)

    def __enter__(self) -> None:
        try:
            self._lock.acquire()
        except Timeout:
            raise DataError(
                f"Another build is at work ({self._lock.lock_file} is locked); wait for it to end"
            ) from None

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _save(benchmark: Benchmark, root: Path) -> None:
    """Write the benchmark; a manifest of other labels must not outlive it, even for a moment."""
    before = load_manifest(root, benchmark.name)
    folder = benchmark_dir(root, benchmark.name)
    if before is not None and before.fingerprint != benchmark.fingerprint:
        (folder / FILE).unlink()
    save_benchmark(benchmark, folder)


def _manifest(
    benchmark: Benchmark,
    sources: dict[str, Found],
    gathered: Gathered,
) -> BuildManifest:
    return BuildManifest(
        schema=SCHEMA,
        name=benchmark.name,
        fingerprint=benchmark.fingerprint,
        sources=sources | ({} if gathered.archive is None else {"videos": gathered.archive}),
        videos=gathered.videos,
        tool_version=__version__,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
