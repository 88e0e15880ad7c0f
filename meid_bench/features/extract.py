"""Extract: videos -> frames -> features -> feature store, resumed by running it again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torchvision

from meid_bench import __version__
from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.device import describe, device_of_rank
from meid_bench.distributed import Ranks, find_ranks, from_first, joined
from meid_bench.errors import DataError, MeidBenchError, SettingError
from meid_bench.features.account import Account, UnfinishedError, take_account
from meid_bench.features.decode_pool import prepare_workers
from meid_bench.features.decoders import decoder_version
from meid_bench.features.encoder import Encoder, load_encoder
from meid_bench.features.listed_videos import ListedVideos, listed_videos
from meid_bench.features.manifest import (
    FILE,
    Recipe,
    feature_manifest,
    ids_sha256,
    load_manifest,
    save_manifest,
    store_name,
)
from meid_bench.features.pipeline import Share, extract_share
from meid_bench.features.processes import run_on_devices
from meid_bench.features.shard_plan import ShardPlan, plan_shards, share
from meid_bench.features.weights import DEFAULT
from meid_bench.files import features_dir
from meid_bench.lock import alone

# One rank may take hours longer than another; a dead one is noticed by its closed connection.
PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class ExtractSettings:
    """What a user may choose of an extraction.

    Attributes:
        encoder: A classification model of torchvision's, or "tsm_resnet50".
        weights: A name of torchvision's, a file, or "random:SEED".
        frames: T; the benchmark's where it is left out.
        decoder: Of video files, one of `video.DECODERS`; pyav where it is left out, and pillow for
            folders of jpgs.
        precision: "float32" or "bfloat16"; the device's best where it is left out.
        compiled: Compile the model.
        batch: Pictures a forward pass; chosen by device where it is left out.
        workers: Decoder processes; one a core where it is left out.
        timeout: Seconds that decoding one video may take.
        video_dir: Where the videos lie; where `build` put them where it is left out.
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

    Alone, it takes one device, or starts a process for each of several; under torchrun or srun
    every rank takes its share of the shards.

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
    with ExitStack() as stack, _agreeing(), joined(ranks, torch.device("cpu"), PATIENCE):
        device = device_of_rank(devices, named, ranks.local)
        speak = say if ranks.rank == 0 else _silent
        videos = listed_videos(benchmark, root, settings.video_dir, settings.decoder)
        prepare_workers()
        encoder = load_encoder(
            settings.encoder,
            settings.weights,
            device,
            settings.precision,
            settings.batch,
            settings.compiled,
        )
        folder, manifest = _open_store(benchmark, root, settings, encoder, videos, ranks, stack)
        speak(f"features  {folder}")
        if encoder.untrained:
            speak("weights   UNTRAINED (random): these features are for trying things out only")
        plans = from_first(plan_shards(benchmark, folder) if ranks.rank == 0 else [])
        several = ranks.size == 1 and len(devices) > 1
        parts = share(plans, len(devices) if several else ranks.size)
        neighbours = len(devices) if several else ranks.local_size
        jobs = _jobs(parts, folder, videos, settings, manifest["recipe"]["frames"], neighbours)
        with _accounting(benchmark, folder, ranks.rank):
            if several:
                run_on_devices(jobs, devices, encoder_arguments(settings, encoder))
            else:
                extract_share(jobs[ranks.rank], encoder, speak)
            _meet()
        return take_account(benchmark, folder) if ranks.rank == 0 else None


def _jobs(
    parts: Sequence[Sequence[ShardPlan]],
    folder: Path,
    videos: ListedVideos,
    settings: ExtractSettings,
    frames: int,
    neighbours: int,
) -> list[Share]:
    """What each process has to do."""
    paths = videos.paths
    return [
        Share(
            folder=folder,
            videos=videos.folder,
            paths={name: paths[name] for plan in part for name in plan.pending if name in paths},
            plans=tuple(part),
            number=number,
            shares=len(parts),
            frames=frames,
            decoder=videos.decoder,
            timeout=settings.timeout,
            workers=settings.workers,
            neighbours=neighbours,
        )
        for number, part in enumerate(parts)
    ]


@contextmanager
def _accounting(benchmark: Benchmark, folder: Path, rank: int) -> Iterator[None]:
    """Put the account beside the reason why an extraction ended early."""
    try:
        with _agreeing():
            yield
    except MeidBenchError as error:
        if rank > 0:
            raise
        raise UnfinishedError(str(error), take_account(benchmark, folder)) from error


@contextmanager
def _agreeing() -> Iterator[None]:
    """Say in a sentence what torch says when another rank has gone."""
    try:
        yield
    except dist.DistError as error:
        raise _lost_rank(error) from error
    except RuntimeError as error:
        if "gloo" not in str(error):
            raise
        raise _lost_rank(error) from error


def _lost_rank(error: Exception) -> MeidBenchError:
    return MeidBenchError(
        f"Another process of this run ended early or cannot be reached ({error}); every finished "
        "shard stays, run the same command again to go on"
    )


def _meet() -> None:
    """Wait for every rank to come here."""
    if dist.is_initialized():
        dist.barrier()


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


def _open_store(
    benchmark: Benchmark,
    root: Path,
    settings: ExtractSettings,
    encoder: Encoder,
    videos: ListedVideos,
    ranks: Ranks,
    stack: ExitStack,
) -> tuple[Path, dict[str, Any]]:
    """The store's folder with its manifest in it: the one that is there, or a new one.

    It is this extraction's alone until `stack` is left.
    """
    frames = benchmark.frames if settings.frames is None else settings.frames
    if frames < 1:
        raise SettingError(f"--frames {frames} is out of range; expected at least 1")
    recipe = Recipe(
        encoder=encoder.name,
        weights_sha256=encoder.weights_sha256,
        transform=str(encoder.transform),
        frames=frames,
        width=encoder.width,
        decoder=videos.decoder,
        decoder_version=decoder_version(videos.decoder),
        precision=encoder.precision,
        source=videos.source,
    )
    if from_first(recipe) != recipe:
        raise MeidBenchError(
            f"Rank {ranks.rank} would make other features than rank 0: {recipe} there; install "
            "the same versions on every machine, and choose the same --precision"
        )
    manifest = feature_manifest(
        benchmark,
        recipe,
        weights=encoder.weights,
        untrained=encoder.untrained,
        provenance={
            "tool": __version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "device": describe(encoder.device),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "batch": encoder.batch,
        },
    )
    folder = features_dir(root, benchmark.name) / store_name(manifest)
    if ranks.rank == 0:
        stack.enter_context(alone(folder / ".extract.lock", "extraction"))
        _enter(benchmark, folder, manifest)
    _meet()
    manifest = load_manifest(folder)
    batch = manifest["provenance"]["batch"]
    if settings.batch not in (None, batch):
        raise SettingError(
            f"--batch {settings.batch} does not fit {folder}, which was begun with {batch}; "
            "leave it out, or move that folder away"
        )
    encoder.batch = batch
    return folder, manifest


def _enter(benchmark: Benchmark, folder: Path, manifest: dict[str, Any]) -> None:
    """Write a new store's manifest, or see to it that the old one's is of this benchmark."""
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)  # Of a killed run: `atomic` writes under such names.
    if not (folder / FILE).is_file():
        save_manifest(folder, manifest)
        return
    stored = load_manifest(folder)
    if stored["benchmark_fingerprint"] == benchmark.fingerprint:
        return
    if stored["ids_sha256"] != ids_sha256(benchmark):
        raise DataError(
            f"{folder} holds features of another version of {benchmark.name}, with other videos; "
            "move it away and extract again"
        )
    # The same videos with other labels or splits: features do not depend on those.
    save_manifest(folder, stored | {"benchmark_fingerprint": benchmark.fingerprint})
