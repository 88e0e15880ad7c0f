"""Extract: videos -> frames -> features -> feature store; a second run does what is missing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torchvision

from meid_bench import __version__
from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.device import device_of_rank, processor
from meid_bench.distributed import Ranks, find_ranks, from_first, joined
from meid_bench.errors import DataError, MeidBenchError, SettingError
from meid_bench.features.account import Account, UnfinishedError, take_account
from meid_bench.features.decode_pool import prepare_workers
from meid_bench.features.decoders import decoder_version, placed
from meid_bench.features.encoder import Encoder, load_encoder
from meid_bench.features.ledger import ShardPlan, partition, plan_shards
from meid_bench.features.listed_videos import UNNAMED, ListedVideos, listed_videos
from meid_bench.features.manifest import (
    AND,
    CLIP_RULE,
    FRAME_RULE,
    MANIFEST,
    Manifest,
    Recipe,
    joined_provenance,
    load_manifest,
    make_manifest,
    save_manifest,
)
from meid_bench.features.pipeline import Partition, extract_on_devices, extract_partition
from meid_bench.files import features_dir, locked

T = TypeVar("T")
# T where none is named, for encoders of clips; images have the benchmark's.
CLIP_FRAMES = 16
# A rank may take hours longer than another; a dead one is noticed by its closed connection.
PATIENCE = timedelta(days=30)
# Of the settings, the arguments of `load_encoder`.
ENCODER_SETTINGS = ("weights", "precision", "batch", "compiled")


@dataclass(frozen=True)
class ExtractSettings:
    """What a user may choose of an extraction; None leaves the choice to the program.

    Attributes:
        encoder, weights, precision, batch, compiled: As `load_encoder` takes them.
        frames: T; else the benchmark's, or CLIP_FRAMES for an encoder of clips.
        decoder, video_dir, videos: As `listed_videos` takes them; `videos` is part of the feature
            id.
        workers: Decoder processes; else one a core.
        timeout: Seconds that decoding one video may take.
    """

    encoder: str = "resnet101"
    weights: str | None = None
    frames: int | None = None
    decoder: str | None = None
    precision: str | None = None
    compiled: bool = False
    batch: int | None = None
    workers: int | None = None
    timeout: float = 600.0
    video_dir: Path | None = None
    videos: str | None = None


def extract(
    benchmark: Benchmark,
    root: Path,
    settings: ExtractSettings,
    devices: Sequence[torch.device],
    *,
    named: bool = True,
    say: Callable[[str], None] = print,
) -> Account | None:
    """Extract the features of every listed video that has none yet.

    One process takes one device, or starts a process for each of several; under torchrun or srun
    each rank takes its partition of the shards.

    Args:
        benchmark: Whose videos.
        root: The data root.
        settings: How.
        devices: Where to encode.
        named: The devices were named by the user, not chosen.
        say: Takes a line about what was chosen.

    Returns:
        What the store holds, on rank 0; None on the others.

    Raises:
        UnfinishedError: The disk is full, the videos' folder has gone, another process has died,
            or the user stopped it. Videos that cannot be read are in the account instead.
        MeidBenchError: A setting is wrong.
    """
    ranks = find_ranks()
    with _lost_rank_named(), joined(ranks, torch.device("cpu"), PATIENCE):
        first, several = ranks.rank == 0, ranks.size == 1 and len(devices) > 1
        if not several:
            devices = [device_of_rank(devices, named, ranks.local)]
        if not first:
            say = _no_line
        videos = listed_videos(
            benchmark, root, settings.video_dir, settings.decoder, settings.videos
        )
        placed(videos.decoder, devices[0])  # refuses before anything is loaded
        prepare_workers()
        chosen = {name: getattr(settings, name) for name in ENCODER_SETTINGS}
        encoder = load_encoder(settings.encoder, device=devices[0], **chosen)
        manifest = _manifest(benchmark, settings, encoder, videos, devices)
        folder = features_dir(root, benchmark.name) / manifest.store_name
        with locked(folder / ".extract.lock", "extraction") if first else nullcontext():
            plans = from_first(_begin(benchmark, folder, manifest, settings) if first else [])
            encoder.batch = load_manifest(folder).provenance["batch"]
            say(f"features  {folder}")
            if encoder.untrained:
                say("weights   UNTRAINED (random): these features are for trying things out only")
            parts = partition(plans, len(devices) if several else ranks.size)
            partitions = [
                Partition(
                    folder=folder,
                    videos=videos,
                    plans=part,
                    frames=manifest.recipe.frames,
                    timeout=settings.timeout,
                    workers=settings.workers,
                    number=number,
                    of=len(parts),
                    neighbours=len(devices) if several else ranks.local_size,
                )
                for number, part in enumerate(parts)
            ]
            with _accounted(benchmark, folder, ranks):
                if several:
                    chosen["precision"] = encoder.precision.partition(",")[0]
                    chosen["batch"] = encoder.batch
                    extract_on_devices(partitions, devices, {"name": settings.encoder, **chosen})
                else:
                    extract_partition(partitions[ranks.rank], encoder, say)
                if dist.is_initialized():
                    dist.barrier()
            return take_account(benchmark, folder) if first else None


def _manifest(
    benchmark: Benchmark,
    settings: ExtractSettings,
    encoder: Encoder,
    videos: ListedVideos,
    devices: Sequence[torch.device],
) -> Manifest:
    """The manifest of a new store, the same on every rank."""
    usual = benchmark.frames if encoder.frames_per_row == 1 else CLIP_FRAMES
    frames = usual if settings.frames is None else settings.frames
    if frames < 1:
        raise SettingError(f"--frames {frames} is out of range; expected at least 1")
    recipe = Recipe(
        encoder=encoder.name,
        weights_sha256=encoder.weights_sha256,
        transform=str(encoder.transform),
        frames=frames,
        width=encoder.width,
        source=videos.source,
        clip_length=encoder.frames_per_row,
        clip_stride=encoder.clip.stride,
        frame_rule=FRAME_RULE if encoder.frames_per_row == 1 else CLIP_RULE,
        pooling=encoder.pooling,
    )
    provenance: dict[str, Any] = {
        "decoder": videos.decoder,
        "decoder_version": decoder_version(videos.decoder),
        "precision": encoder.precision,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    if encoder.family != "torchvision":
        provenance[encoder.family] = version(encoder.family)
    everywhere = _of_every_rank((recipe, provenance))
    if different := [rank for rank, made in enumerate(everywhere) if made != everywhere[0]]:
        raise MeidBenchError(
            f"Rank {different[0]} would make other features than rank 0: "
            f"{everywhere[different[0]]} there, {everywhere[0]} on rank 0; install the same "
            "versions on every machine, and choose the same --precision"
        )
    kinds = _of_every_rank([processor(device) for device in devices])
    provenance |= {
        "batch": encoder.batch,
        "processor": AND.join(sorted({kind for of_rank in kinds for kind in of_rank})),
        "videos": videos.folder.resolve().name,
        "tool": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return make_manifest(
        benchmark,
        recipe,
        weights=encoder.weights,
        untrained=encoder.untrained,
        provenance=provenance,
    )


def _begin(
    benchmark: Benchmark, folder: Path, manifest: Manifest, settings: ExtractSettings
) -> list[ShardPlan]:
    """Write a new store's manifest, or check and update that of a begun one; what is to do.

    What the user chooses (decoder, precision, batch) stays as the store was begun; where versions
    or processors change between two runs, the provenance names both.

    Raises:
        MeidBenchError: The store is of other videos, or was begun with another choice.
    """
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)  # `atomic`'s, of a killed run
    if not (folder / MANIFEST).is_file():
        save_manifest(folder, manifest)
        return plan_shards(benchmark, folder)
    stored = load_manifest(folder)
    if stored.ids_sha256 != manifest.ids_sha256:
        raise DataError(
            f"{folder} holds features of another version of {benchmark.name}, with other videos; "
            "move it away and extract again"
        )
    chosen = ["decoder", "precision", *(["batch"] if settings.batch else [])]
    if manifest.recipe.source == UNNAMED:  # only the folder's name tells which they are
        chosen.append("videos")
    for key in chosen:
        if stored.provenance[key] != manifest.provenance[key]:
            raise SettingError(
                f"{folder} was begun with {key} {stored.provenance[key]!r}, this run has "
                f"{manifest.provenance[key]!r}; choose the same, or rename that folder to begin "
                "another"
            )
    plans = plan_shards(benchmark, folder)
    now = joined_provenance(stored.provenance, manifest.provenance) if plans else stored.provenance
    # The same videos with other labels or splits: features do not depend on those.
    fresh = replace(stored, benchmark_fingerprint=benchmark.fingerprint, provenance=now)
    if fresh != stored:
        save_manifest(folder, fresh)
    return plans


@contextmanager
def _accounted(benchmark: Benchmark, folder: Path, ranks: Ranks) -> Iterator[None]:
    """Add the account to the reason why an extraction ended early."""
    try:
        with _lost_rank_named():
            yield
    except MeidBenchError as error:
        if ranks.rank > 0:
            raise
        raise UnfinishedError(str(error), take_account(benchmark, folder)) from error


@contextmanager
def _lost_rank_named() -> Iterator[None]:
    """Make a sentence of what torch raises when another rank has gone."""
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise MeidBenchError(
            f"Another process of this run ended early or cannot be reached ({error}); every "
            "finished shard stays, run the same command again to go on"
        ) from error


def _of_every_rank(value: T) -> list[T]:
    """Each rank's value, in their order, on every rank."""
    if not dist.is_initialized():
        return [value]
    values = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _no_line(_: str) -> None:
    """Take a line that rank 0 prints for all."""
