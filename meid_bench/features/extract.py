"""Extract: videos -> frames -> features -> feature store, resumed by running it again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
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
from meid_bench.features.decoders import decoder_version
from meid_bench.features.encoder import Encoder, load_encoder
from meid_bench.features.ledger import ShardPlan, partition, plan_shards
from meid_bench.features.listed_videos import UNNAMED, ListedVideos, listed_videos
from meid_bench.features.manifest import (
    AND,
    MANIFEST,
    Manifest,
    Recipe,
    joined_provenance,
    load_manifest,
    make_manifest,
    save_manifest,
)
from meid_bench.features.networks import DEFAULT
from meid_bench.features.pipeline import Partition, extract_on_devices, extract_partition
from meid_bench.files import features_dir, locked

T = TypeVar("T")
# One rank may take hours longer than another; a dead one is noticed by its closed connection.
PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class ExtractSettings:
    """What a user may choose of an extraction.

    Attributes:
        encoder: A classification model of torchvision's, or "tsm_resnet50".
        weights: A name of torchvision's, a file, or "random:SEED".
        frames: T; the benchmark's where it is left out.
        decoder: Of video files, one of `DECODERS`; pyav where it is left out, and pillow for
            folders of jpgs.
        precision: "float32" or "bfloat16"; the device's best where it is left out.
        compiled: Compile the model.
        batch: Pictures a forward pass; chosen by device where it is left out.
        workers: Decoder processes; one a core where it is left out.
        timeout: Seconds that decoding one video may take.
        video_dir: Where the videos lie; where `build` put them where it is left out.
        videos: Of which videos, for example "480p": part of the feature id; the archive that
            `build` used where it is left out.
    """

    encoder: str = "resnet101"
    weights: str = DEFAULT
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

    On its own, it takes one device, or starts a process for each of several; under torchrun or
    srun every rank takes its partition of the shards.

    Args:
        benchmark: Whose videos.
        root: The data root.
        settings: How.
        devices: Where to encode.
        named: The devices were named by the user, not chosen.
        say: Takes a line about what was chosen.

    Returns:
        What there is now, on rank 0; None on the others.

    Raises:
        UnfinishedError: The disk is full, the videos' folder has gone, another process has died,
            or the user stopped it. Videos that cannot be read raise nothing: they are in the
            account.
        MeidBenchError: A setting is wrong.
    """
    ranks = find_ranks()
    with _lost_rank_named(), joined(ranks, torch.device("cpu"), PATIENCE):
        device = device_of_rank(devices, named, ranks.local)
        videos = listed_videos(
            benchmark, root, settings.video_dir, settings.decoder, settings.videos
        )
        prepare_workers()
        encoder = load_encoder(
            settings.encoder,
            settings.weights,
            device,
            settings.precision,
            settings.batch,
            settings.compiled,
        )
        several = ranks.size == 1 and len(devices) > 1
        manifest = _manifest(benchmark, settings, encoder, videos, devices if several else [device])
        folder = features_dir(root, benchmark.name) / manifest.store_name
        first = ranks.rank == 0
        with locked(folder / ".extract.lock", "extraction") if first else nullcontext():
            plans = from_first(_begin(benchmark, folder, manifest, settings) if first else [])
            encoder.batch = load_manifest(folder).provenance["batch"]
            if first:
                _announce(folder, encoder, say)
            parts = partition(plans, len(devices) if several else ranks.size)
            neighbours = len(devices) if several else ranks.local_size
            work = _partitions(parts, folder, videos, settings, manifest.recipe.frames, neighbours)
            with _accounted(benchmark, folder, ranks):
                if several:
                    extract_on_devices(work, devices, encoder_arguments(settings, encoder))
                else:
                    extract_partition(work[ranks.rank], encoder, say if first else _silent)
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
    frames = benchmark.frames if settings.frames is None else settings.frames
    if frames < 1:
        raise SettingError(f"--frames {frames} is out of range; expected at least 1")
    recipe = Recipe(
        encoder=encoder.name,
        weights_sha256=encoder.weights_sha256,
        transform=str(encoder.transform),
        frames=frames,
        width=encoder.width,
        source=videos.source,
    )
    provenance: dict[str, Any] = {
        "decoder": videos.decoder,
        "decoder_version": decoder_version(videos.decoder),
        "precision": encoder.precision,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
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
    """Write a new store's manifest, or go on with an old one; what is to do.

    What the user chooses (decoder, precision, batch) stays as the store began; versions and
    processors may change between two runs, and then the provenance names both.

    Raises:
        MeidBenchError: The store is of other videos, or was begun with another choice.
    """
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)  # Of a killed run: `atomic` writes under such names.
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
    if manifest.recipe.source == UNNAMED:  # nothing but the folder's name tells which they are
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


def _announce(folder: Path, encoder: Encoder, say: Callable[[str], None]) -> None:
    say(f"features  {folder}")
    if encoder.untrained:
        say("weights   UNTRAINED (random): these features are for trying things out only")


def _partitions(
    parts: Sequence[Sequence[ShardPlan]],
    folder: Path,
    videos: ListedVideos,
    settings: ExtractSettings,
    frames: int,
    neighbours: int,
) -> list[Partition]:
    """What each process has to do."""
    paths = videos.paths
    return [
        Partition(
            folder=folder,
            videos=videos.folder,
            paths={name: paths[name] for plan in part for name in plan.pending if name in paths},
            plans=tuple(part),
            number=number,
            of=len(parts),
            frames=frames,
            decoder=videos.decoder,
            timeout=settings.timeout,
            workers=settings.workers,
            neighbours=neighbours,
        )
        for number, part in enumerate(parts)
    ]


@contextmanager
def _accounted(benchmark: Benchmark, folder: Path, ranks: Ranks) -> Iterator[None]:
    """Put the account beside the reason why an extraction ended early."""
    try:
        with _lost_rank_named():
            yield
    except MeidBenchError as error:
        if ranks.rank > 0:
            raise
        raise UnfinishedError(str(error), take_account(benchmark, folder)) from error


@contextmanager
def _lost_rank_named() -> Iterator[None]:
    """Say in a sentence what torch says when another rank has gone."""
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
    """What each rank has, in their order, on every rank."""
    if not dist.is_initialized():
        return [value]
    values = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def encoder_arguments(settings: ExtractSettings, encoder: Encoder) -> dict[str, Any]:
    """What another process gives to `load_encoder`, its own device aside."""
    return {
        "name": settings.encoder,
        "weights": settings.weights,
        "precision": encoder.precision.partition(",")[0],
        "batch": encoder.batch,
        "compiled": settings.compiled,
    }


def _silent(_: str) -> None:
    """Take a line that rank 0 prints for all."""
