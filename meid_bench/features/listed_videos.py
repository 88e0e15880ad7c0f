"""ListedVideos: where a benchmark's videos lie, of what kind they are, and what decodes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.benchmark.build_manifest import load_build_manifest
from meid_bench.benchmark.video_folder import find_videos, path_of
from meid_bench.errors import DataError, SettingError
from meid_bench.features.decoders import DECODERS, JPG_DECODER

# Sources of features: folders of jpgs, and files whose release is not named.
RGB_FRAMES, UNNAMED = "rgb frames", "unnamed videos"


@dataclass(frozen=True)
class ListedVideos:
    """The videos that an extraction reads.

    Attributes:
        folder: Where they lie.
        paths: Id to file, or id to folder of jpgs; ids without one are left out.
        source: Which videos they are, as it stands in the recipe.
        decoder: What decodes them.
    """

    folder: Path
    paths: Mapping[str, Path]
    source: str
    decoder: str


def listed_videos(
    benchmark: Benchmark,
    root: Path,
    video_dir: Path | None = None,
    decoder: str | None = None,
    videos: str | None = None,
) -> ListedVideos:
    """Find the videos of a benchmark.

    Args:
        benchmark: Whose.
        root: The data root.
        video_dir: Their folder; where `build` put them if left out.
        decoder: One of DECODERS for files, JPG_DECODER for folders of jpgs; the first if left out.
        videos: Which videos they are, for example "480p"; the archive that `build` used if left
            out.

    Raises:
        DataError: There is no such folder, none of the videos in it, or both kinds.
        SettingError: The decoder is for the other kind.
    """
    folder, archive = _folder(benchmark, root, video_dir)
    ids = benchmark.all_ids()
    paths = find_videos(folder, ids)
    if not paths:
        first = path_of(ids[0])
        raise DataError(
            f"{folder} holds none of the {len(ids)} listed videos of {benchmark.name}, neither a "
            f"file {first}.mp4 nor a folder {first} of jpgs; name another with --video-dir DIR"
        )
    jpgs = next(iter(paths.values())).is_dir()
    if jpgs:  # not of the archive that `build` looked for
        source = RGB_FRAMES if videos is None else f"{videos}, {RGB_FRAMES}"
    else:
        source = videos or archive or UNNAMED
    fitting = (JPG_DECODER,) if jpgs else DECODERS
    decoder = fitting[0] if decoder is None else decoder
    if decoder in {*DECODERS, JPG_DECODER} - set(fitting):
        kind = "folders of jpgs" if jpgs else "video files"
        raise SettingError(f"--decoder {decoder} cannot read the {kind} in {folder}; leave it out")
    return ListedVideos(folder, paths, source, decoder)


def _folder(benchmark: Benchmark, root: Path, video_dir: Path | None) -> tuple[Path, str | None]:
    """The folder of a benchmark's videos, and the archive they come from where that is known."""
    folder, archive = video_dir, None
    if folder is None:
        built = load_build_manifest(root, benchmark.name)
        if built is not None and built.videos is not None:
            folder, archive = built.video_folder(root), built.videos.archive
    if folder is None:
        raise DataError(
            f"{benchmark.name} was built without videos; run `meid-bench build {benchmark.name} "
            "--videos needed`, or name their folder with --video-dir DIR"
        )
    if not folder.is_dir():
        raise DataError(
            f"The folder of videos {folder} is not there; build {benchmark.name} again, "
            "or name another with --video-dir DIR"
        )
    return folder, archive
