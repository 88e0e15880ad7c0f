"""Build: official files -> a benchmark with its videos, and the manifest that says from what."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from meid_bench import __version__
from meid_bench.benchmark.assemble import assemble
from meid_bench.benchmark.benchmark import Benchmark, save_benchmark
from meid_bench.benchmark.build_manifest import (
    MANIFEST_FILE,
    SCHEMA,
    BuildManifest,
    OfficialFile,
    VideosFound,
    load_build_manifest,
    save_build_manifest,
)
from meid_bench.benchmark.download import verify_file
from meid_bench.benchmark.longtail import Bins
from meid_bench.benchmark.official_videos import (
    Gathered,
    Mode,
    Transfer,
    gather_videos,
    record_videos,
)
from meid_bench.benchmark.own_data import FRACTIONS, own_benchmark
from meid_bench.benchmark.source import Source, annotation_files
from meid_bench.benchmark.spec import check_name, find_spec, load_spec, packaged_specs
from meid_bench.benchmark.video_folder import path_of
from meid_bench.errors import DataError, SettingError
from meid_bench.files import benchmark_dir, locked, named_when_full

# One build at a time in a data root: two would fetch the same files into one another.
LOCK = ".build.lock"
# T of a benchmark of one's own, where nothing else was asked for.
OWN_FRAMES = 200


@dataclass(frozen=True)
class BuildResult:
    """What was built.

    Attributes:
        benchmark: The benchmark.
        manifest: From what, and where its videos lie.
        folder: Where both were written.
        transfer: What fetching single videos took; None where no archive was read that way.
        features: Folder of the official files where they are features, to be read in place.
        notes: How a csv of one's own was read, a line each.
        warnings: What makes the numbers on one's own data less than they seem, a sentence each.
    """

    benchmark: Benchmark
    manifest: BuildManifest
    folder: Path
    transfer: Transfer | None = None
    features: Path | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def build(
    which: str | Path,
    root: Path,
    source: str | Path | None = None,
    videos: Mode = "needed",
    *,
    video_folder: Path | None = None,
) -> BuildResult:
    """Build a benchmark; run again, it does only what is missing.

    Args:
        which: A packaged dataset's name, or a folder with a spec.json.
        root: The data root.
        source: A folder of official files, zipped or unpacked, or the address of a mirror;
            None for the official address.
        videos: "needed" for the listed videos, "all" for the whole archive, "none" for those
            that lie in a folder already, if any.
        video_folder: A folder of unpacked videos to use in place, in place of `videos`.

    Raises:
        MeidBenchError: Anything that the files, the network, the disk or a setting did wrong.
    """
    spec_folder = find_spec(which)
    spec = load_spec(spec_folder)
    origin = Source.parse(source)
    folder = benchmark_dir(root, spec.name)
    with locked(root / LOCK, "build"), named_when_full(root):
        annotations, by_sum = spec.sources.annotations, spec.fingerprint is None
        with annotation_files(annotations, origin, root, spec_folder, by_sum) as (files, sources):
            benchmark = assemble(spec, spec_folder, files)
        _save(benchmark, root)
        ids, archive = benchmark.all_ids(), spec.sources.videos
        if video_folder is not None:
            name = spec.name if archive is None else archive.archive
            gathered = Gathered(_in_place(video_folder, name, ids, root))
        elif archive is not None:
            gathered = gather_videos(archive, ids, origin, root, videos)
        else:
            gathered = Gathered(None)
        manifest = _manifest(benchmark, sources, gathered)
        save_build_manifest(manifest, root)
    # VideoLT's authors hand out features, not videos.
    features = spec.format == "videolt" and origin.folder is not None
    return BuildResult(
        benchmark, manifest, folder, gathered.transfer, origin.folder if features else None
    )


def build_own(
    labels: Path,
    video_folder: Path | None,
    name: str,
    root: Path,
    *,
    frames: int = OWN_FRAMES,
    bins: Bins | None = None,
    fractions: Sequence[Fraction] = FRACTIONS,
    separator: str | None = None,
) -> BuildResult:
    """Build a benchmark of one's own from a labels.csv and a folder of videos, used in place.

    Args:
        labels: A csv with the columns video and labels, and optionally split and group.
        video_folder: Where the videos lie; None where there are features only, to be imported.
        name: The benchmark's name.
        root: The data root.
        frames: T, frames per video.
        bins: Bounds of head, medium and tail; None for thirds of the classes.
        fractions: Of train, val and test where the csv names no splits.
        separator: What stands between two labels; guessed where it is left out.

    Raises:
        MeidBenchError: Anything that the files or a setting did wrong.
    """
    try:
        check_name(name)
    except ValueError as error:
        raise SettingError(str(error)) from error
    if name in packaged_specs():
        raise SettingError(f"{name!r} is the name of a packaged dataset; choose another one")
    if separator == "":
        raise SettingError("The separator of labels is empty; give what stands between two of them")
    own = own_benchmark(labels, name, frames, bins, fractions, separator)
    benchmark = own.benchmark
    videos = None
    if video_folder is not None:
        videos = _in_place(video_folder, name, benchmark.all_ids(), root)
    with locked(root / LOCK, "build"), named_when_full(root):
        _save(benchmark, root)
        manifest = _manifest(benchmark, {"labels": verify_file(labels)}, Gathered(videos))
        save_build_manifest(manifest, root)
    folder = benchmark_dir(root, name)
    return BuildResult(benchmark, manifest, folder, notes=own.notes, warnings=own.warnings)


def _in_place(folder: Path, archive: str, ids: Sequence[str], root: Path) -> VideosFound:
    if not folder.is_dir():
        raise SettingError(f"{folder} is no folder; name the one that holds the videos")
    videos = record_videos(folder, archive, ids, root)
    if not videos.found:
        raise DataError(
            f"{folder} holds none of the {len(ids)} listed videos, such as {path_of(ids[0])}.mp4; "
            "a video's file has its id as name, and one of the usual suffixes"
        )
    return videos


def _save(benchmark: Benchmark, root: Path) -> None:
    """Write the benchmark; a manifest of other labels must not outlive it, even for a moment."""
    folder = benchmark_dir(root, benchmark.name)
    try:
        before = load_build_manifest(root, benchmark.name)
        outlived = before is not None and before.fingerprint != benchmark.fingerprint
    except DataError:
        outlived = True
    if outlived:
        (folder / MANIFEST_FILE).unlink()
    save_benchmark(benchmark, folder)


def _manifest(
    benchmark: Benchmark, sources: dict[str, OfficialFile], gathered: Gathered
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
