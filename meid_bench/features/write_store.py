"""Write a whole feature store from features that are already there: imports and simulations."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from meid_bench.errors import DataError
from meid_bench.features.failures import Failure, update_failures
from meid_bench.features.manifest import save_manifest
from meid_bench.features.shard import VIDEOS_PER_SHARD, VideoFeatures, shard_path, write_shard


def shards(ids: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Shard number to the ids it is for: the sorted ids, 64 a shard, whether they fail or not."""
    ordered = sorted(ids)
    return {
        start // VIDEOS_PER_SHARD: tuple(ordered[start : start + VIDEOS_PER_SHARD])
        for start in range(0, len(ordered), VIDEOS_PER_SHARD)
    }


def write_store(
    folder: Path,
    manifest: Mapping[str, Any],
    ids: Sequence[str],
    items: Iterable[VideoFeatures],
    failed: Iterable[Failure] = (),
) -> None:
    """Write shards, failures and, last, the manifest that makes the folder a store.

    Args:
        folder: The store's folder; made where it is missing.
        manifest: As `feature_manifest` makes it.
        ids: Every listed id of the benchmark: they decide which shard a video is in.
        items: Features in the order of sorted ids, one shard of them in memory at a time; ids
            may be missing.
        failed: Why they are.

    Raises:
        DataError: An item is not listed, out of order, or of another shape than the manifest's.
    """
    number = {name: shard for shard, names in shards(ids).items() for name in names}
    shape = (manifest["recipe"]["frames"], manifest["recipe"]["width"])
    folder.mkdir(parents=True, exist_ok=True)
    last = ""
    checked = (_checked(item, number, shape) for item in items)
    for shard, group in groupby(checked, key=lambda item: number[item.id]):
        videos = list(group)
        names = [video.id for video in videos]
        for before, name in zip(chain([last], names), names, strict=False):
            if before >= name:
                raise DataError(
                    f"Features must come in the order of ids: {name!r} after {before!r}"
                )
        last = names[-1]
        write_shard(shard_path(folder, shard), len(videos), videos)
    update_failures(folder, ids, failed)
    save_manifest(folder, manifest)


def _checked(
    item: VideoFeatures, number: Mapping[str, int], shape: tuple[int, int]
) -> VideoFeatures:
    if item.id not in number:
        raise DataError(f"Video {item.id!r} is not listed in the benchmark")
    if item.features.shape != shape:
        raise DataError(
            f"Video {item.id!r} has features of shape {item.features.shape}, expected {shape}"
        )
    return item
