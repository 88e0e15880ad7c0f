"""Inspection: frames, frame weights and scores of one video of a benchmark by a trained run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import SPLITS, Benchmark, load_benchmark
from meid_bench.benchmark.build_manifest import load_build_manifest
from meid_bench.benchmark.video_folder import find_videos
from meid_bench.errors import DataError, MeidBenchError, unknown
from meid_bench.features.decoders import DECODERS, JPG_DECODER, decode_video
from meid_bench.features.frames import FrameRule
from meid_bench.features.npy_store import open_store
from meid_bench.files import features_dir
from meid_bench.inference.trained_run import TrainedRun

SHOWN = 10  # frames in the picture


@dataclass(frozen=True, eq=False)
class Inspection:
    """What a picture of it shows.

    Attributes:
        title: Video, split, run.
        classes: Names of the C classes.
        group: Their groups.
        video: The annotation.
        times: Time of each frame, (T,) seconds; the frame's number where times are unknown.
        in_seconds: Whether `times` are seconds.
        weights: Name of a frame weight to (T,), scaled to mean 1.
        scores: "both" or "prediction", and each expert's name, to probabilities (C,).
        frames: Some frames (H, W, 3) uint8, each with its time in seconds.
        without_frames: Why there are none, or empty.
    """

    title: str
    classes: tuple[str, ...]
    group: tuple[str, ...]
    video: Annotation
    times: NDArray[np.float64]
    in_seconds: bool
    weights: dict[str, NDArray[np.float32]]
    scores: dict[str, NDArray[np.float32]]
    frames: list[tuple[float, NDArray[np.uint8]]]
    without_frames: str


def inspect_video(
    run: TrainedRun, video_id: str, root: Path, video_dir: Path | None = None
) -> Inspection:
    """Inspect a video by a trained run.

    Args:
        run: The run.
        video_id: A listed video of the run's benchmark that has features.
        root: The data root.
        video_dir: Where the videos are; where `build` put them if left out.

    Raises:
        MeidBenchError: The id is unknown, or the benchmark or the features have gone or changed.
    """
    assert run.record.features is not None
    benchmark = load_benchmark(run.record.benchmark, root)
    split, video = _find(benchmark, video_id)
    store = open_store(features_dir(root, benchmark.name) / run.record.features.name)
    if store.fingerprint != run.model.features:
        raise DataError(
            f"{store.folder} has the fingerprint {store.fingerprint[:8]}; {run.folder.name} was "
            f"trained on {run.model.features[:8]}: run it again"
        )
    features = store.read([video_id])[0]
    times = store.times(video_id).astype(np.float64)
    in_seconds = not np.isnan(times).any()
    weights: dict[str, NDArray[np.float32]] = {}
    scores: dict[str, NDArray[np.float32]] = {}
    for name, values in run.explain(features).items():
        if values.shape == times.shape and not (values < 0).any():
            weights[name] = (values / max(float(values.mean()), 1e-12)).astype(np.float32)
        else:
            scores[name] = (1 / (1 + np.exp(-values))).astype(np.float32)
    scores["both" if len(scores) > 1 else "prediction"] = run.score(features)
    frames, reason = _frames(benchmark, video_id, root, video_dir)
    group = {int(c): name for name, index in benchmark.groups.items() for c in index}
    return Inspection(
        title=f"{video_id} ({split} of {benchmark.title}), {run.folder.name}",
        classes=benchmark.classes,
        group=tuple(group[c] for c in range(len(benchmark.classes))),
        video=video,
        times=times if in_seconds else np.arange(len(times), dtype=np.float64),
        in_seconds=in_seconds,
        weights=weights,
        scores=scores,
        frames=frames,
        without_frames=reason,
    )


def _find(benchmark: Benchmark, video_id: str) -> tuple[str, Annotation]:
    for split in SPLITS:
        for video in benchmark.splits[split]:
            if video.id == video_id:
                return split, video
    raise unknown(f"video of {benchmark.name}", video_id, benchmark.all_ids())


def _frames(
    benchmark: Benchmark, video_id: str, root: Path, video_dir: Path | None
) -> tuple[list[tuple[float, NDArray[np.uint8]]], str]:
    """Some frames of the video with their times, or why there are none."""
    built = load_build_manifest(root, benchmark.name) if video_dir is None else None
    folder = built.video_folder(root) if built is not None else video_dir
    if folder is None:
        return [], f"{benchmark.name} was built without videos; name their folder with --video-dir"
    path = find_videos(folder, [video_id]).get(video_id)
    if path is None:
        return [], f"{folder} has no file or folder of jpgs of {video_id}"
    kept: dict[int, NDArray[np.uint8]] = {}
    decoder = JPG_DECODER if path.is_dir() else DECODERS[0]
    try:
        decoded = decode_video(path, FrameRule(SHOWN), kept.__setitem__, decoder=decoder)
    except MeidBenchError as error:
        return [], f"{path} cannot be read: {error}"
    times = dict(zip(decoded.numbers[:, 0].tolist(), decoded.time.tolist(), strict=True))
    return [(times[number], kept[number]) for number in sorted(times)], ""
