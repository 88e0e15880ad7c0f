"""A small benchmark with videos of its own, and the smallest extraction of them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import models

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import SPLITS, Benchmark, save_benchmark
from meid_bench.benchmark.build_manifest import (
    SCHEMA,
    BuildManifest,
    VideosFound,
    save_build_manifest,
)
from meid_bench.benchmark.longtail import Bins
from meid_bench.features.extract import ExtractSettings, extract
from meid_bench.features.shard import PATTERN, read_shard
from meid_bench.files import benchmark_dir
from tests.made_videos import write_video

NAME = "small"
# Small shards make many of them; a video of six frames is decoded in milliseconds.
VIDEOS_PER_SHARD = 3
FRAMES = 4
ENCODER = "shufflenet_v2_x0_5"
SETTINGS = ExtractSettings(encoder=ENCODER, batch=4, workers=2, timeout=60)
CPU = [torch.device("cpu")]


def small_benchmark(
    root: Path, ids: Iterable[str], lengths: Mapping[str, float] | None = None, name: str = NAME
) -> Benchmark:
    """A benchmark of these ids, a third of them in each split, built under `root`."""
    videos = [Annotation(i, (0,), length=(lengths or {}).get(i)) for i in sorted(ids)]
    benchmark = Benchmark(
        name=name,
        title="Small",
        classes=("anything",),
        splits={split: tuple(videos[start::3]) for start, split in enumerate(SPLITS)},
        bins=Bins(1, 2),
        frames=FRAMES,
    )
    save_benchmark(benchmark, benchmark_dir(root, name))
    videos_found = VideosFound(folder="videos", archive="made", found=len(videos), missing=())
    save_build_manifest(
        BuildManifest(SCHEMA, name, benchmark.fingerprint, {}, videos_found, "0", "today"), root
    )
    return benchmark


def small_videos(root: Path, count: int) -> list[str]:
    """Write `count` short videos under `root`/videos; their ids."""
    ids = [f"v{number:02d}" for number in range(count)]
    for number, name in enumerate(ids):
        write_video(root / "videos" / f"{name}.mp4", 6 + number % 3, (32, 32))
    return ids


def run_small(benchmark: Benchmark, root: Path, **changes: Any) -> Any:
    """Extract on the CPU."""
    changes = {"weights": small_weights(root), **changes}
    return extract(benchmark, root, replace(SETTINGS, **changes), CPU, say=lambda line: None)


def small_weights(root: Path) -> str:
    """A file of weights for ENCODER, under which different pictures have different features."""
    path = root / "tiny.pth"
    if not path.exists():
        model = models.get_model(ENCODER)
        generator = torch.Generator().manual_seed(0)
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight, generator=generator)
        torch.save(model.state_dict(), path)
    return str(path)


def contents(folder: Path) -> dict[str, tuple[bytes, bytes, bytes]]:
    """What a store holds: id to the bytes of features, frame indices and frame times."""
    return {
        video.id: tuple(
            np.ascontiguousarray(part).tobytes()
            for part in (video.features, video.frame_index, video.frame_time)
        )
        for path in sorted(folder.glob(PATTERN))
        for video in read_shard(path)
    }  # type: ignore[return-value]
