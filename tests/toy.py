"""A toy of a few lines: a small long-tailed task, its benchmark, and its feature store."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from click import testing
from numpy.typing import NDArray

from meid_bench.benchmark.annotation import Annotation
from meid_bench.benchmark.benchmark import Benchmark, save_benchmark
from meid_bench.benchmark.longtail import Bins
from meid_bench.cli.main import cli
from meid_bench.features.manifest import Recipe, make_manifest
from meid_bench.features.shard import VideoFeatures
from meid_bench.features.store import write_store
from meid_bench.files import benchmark_dir, features_dir
from meid_bench.methods.toy_task import CLASSES, FRAMES, TASK, WIDTH, toy_features, toy_labels
from meid_bench.results.record import Result
from meid_bench.training.data import Examples

__all__ = ["BINS", "CLASSES", "FRAMES", "TASK", "WIDTH", "toy_features", "toy_labels"]

BINS = Bins(tail_max=8, medium_max=20)


def toy_examples(videos: int = 48, seed: int = 1) -> Examples:
    """Some videos in memory, on the CPU."""
    labels = toy_labels(videos, seed)
    features = torch.from_numpy(toy_features(labels, seed))
    ids = tuple(f"v{number:03d}" for number in range(videos))
    return Examples(ids, labels, features, torch.device("cpu"))


def toy_benchmark() -> Benchmark:
    """The toy as a benchmark: 48 training, 24 val and 24 test videos."""
    splits = {}
    for seed, (split, videos) in enumerate({"train": 48, "val": 24, "test": 24}.items()):
        splits[split] = tuple(
            Annotation(f"{split}{row:03d}", tuple(map(int, np.flatnonzero(labels))))
            for row, labels in enumerate(toy_labels(videos, seed))
        )
    return Benchmark(
        name="toy",
        title="Toy",
        classes=tuple(f"class {c}" for c in range(CLASSES)),
        splits=splits,
        bins=BINS,
        frames=FRAMES,
    )


def write_toy(root: Path, without: tuple[str, ...] = ()) -> Benchmark:
    """Save the toy benchmark and its features under a data root; `without` have none."""
    benchmark = toy_benchmark()
    items = {}
    for seed, split in enumerate(benchmark.splits):
        features = toy_features(benchmark.labels(split), seed)
        items |= dict(zip(benchmark.ids(split), features, strict=True))
    write_features(root, benchmark, {k: v for k, v in items.items() if k not in without})
    return benchmark


def write_more(
    root: Path,
    encoder: str,
    width: int,
    frames: int = FRAMES,
    without: tuple[str, ...] = (),
    **made: Any,
) -> Path:
    """Save features of a further encoder, noise, of the toy's videos; returns their store."""
    benchmark, random = toy_benchmark(), np.random.default_rng(width)
    items = {
        name: random.normal(size=(frames, width)).astype(np.float16)
        for name in benchmark.all_ids()
        if name not in without
    }
    return write_features(root, benchmark, items, encoder, **made)


def write_features(
    root: Path,
    benchmark: Benchmark,
    items: Mapping[str, NDArray[np.float16]],
    encoder: str = "toy",
    **made: Any,
) -> Path:
    """Save a benchmark and the features (T, D) of its videos under a data root.

    `made` is what the manifest says beside the recipe; returns the store.
    """
    save_benchmark(benchmark, benchmark_dir(root, benchmark.name))
    frames, width = next(iter(items.values())).shape
    recipe = Recipe(
        encoder=encoder,
        weights_sha256="0" * 64,
        transform="none",
        frames=frames,
        width=width,
        source="none",
    )
    manifest = make_manifest(benchmark, recipe, **{"weights": "toy", **made})
    store = features_dir(root, benchmark.name) / manifest.store_name
    videos = [toy_video(name, items[name]) for name in sorted(items)]
    write_store(store, manifest, benchmark.all_ids(), videos)
    return store


def toy_video(name: str, features: NDArray[np.float16]) -> VideoFeatures:
    """A video's features as a store holds them."""
    index = np.arange(len(features), dtype=np.int32)
    return VideoFeatures(name, features, index, index.astype(np.float32), len(features))


def on_toy(
    root: Path, command: Sequence[str], settings: Mapping[str, str] = MappingProxyType({})
) -> testing.Result:
    """What a command line does with the toy and the Nonlinear aggregator on the CPU."""
    line = [*command, "--dataset", "toy", "--aggregator", "nonlinear"]
    line += ["--root", str(root), "--device", "cpu"]
    for name, value in settings.items():
        line += ["--set", f"{name}={value}"]
    return testing.CliRunner().invoke(cli, line)


def numbers(result: Result) -> dict[str, Any]:
    """What must not depend on when and where a run was made."""
    return {k: v for k, v in asdict(result).items() if k not in ("seconds", "date", "commit")}
