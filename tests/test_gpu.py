"""What only a GPU can show: right numbers, no wait for it within an epoch, any of several."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from meid_bench.errors import DataError
from meid_bench.features.decoders import GPU_DECODER, decoder_version
from meid_bench.features.encoder import load_encoder
from meid_bench.features.extract import extract
from meid_bench.features.store import FeatureStore
from meid_bench.methods.registry import registered
from meid_bench.methods.samplers import EpochSampler, batches
from meid_bench.methods.settings import RunnerConfig
from meid_bench.methods.trainable import training_mode
from meid_bench.training.epoch import Stepper, epoch_batches, seeded
from meid_bench.training.readahead import read_ahead
from tests.extraction import SETTINGS, contents, small_benchmark, small_videos, small_weights
from tests.made_videos import write_video
from tests.small_methods import toy_method
from tests.toy import toy_examples

GPUS = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def encoded(device: torch.device, precision: str) -> torch.Tensor:
    encoder = load_encoder("resnet50", "random:0", device, precision, batch=4)
    pictures = torch.arange(6 * 3 * 224 * 224).remainder(251).view(6, 3, 224, 224)
    return torch.from_numpy(encoder.encode(pictures.to(torch.uint8))).double()


@pytest.mark.parametrize("device", GPUS, ids=str)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_gpu_encodes_as_the_cpu_does(device: torch.device, precision: str) -> None:
    exact = encoded(torch.device("cpu"), "float32")
    found = encoded(device, precision)
    limit = 0.999 if precision == "bfloat16" else 0.99999
    assert torch.cosine_similarity(found, exact).min() > limit
    assert torch.equal(found, encoded(device, precision))


def test_batches_are_begun_without_waiting() -> None:
    encoder = load_encoder("resnet18", "random:0", GPUS[0], batch=4)
    pictures = torch.zeros((4, 3, 224, 224), dtype=torch.uint8).pin_memory()
    expected = encoder.launch(pictures)()
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = [encoder.launch(pictures) for _ in range(3)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(np.array_equal(result(), expected) for result in results)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("device", GPUS, ids=str)
def test_a_second_extraction_gives_the_same_bytes(device: torch.device, tmp_path: Path) -> None:
    benchmark = small_benchmark(tmp_path, small_videos(tmp_path, 5))
    settings = replace(SETTINGS, weights=small_weights(tmp_path))
    found = []
    for _ in range(2):
        account = extract(benchmark, tmp_path, settings, [device], say=lambda line: None)
        assert account is not None and account.stored == 5
        found.append(contents(account.folder))
        account.folder.rename(tmp_path / f"run{len(found)}")
    assert found[0] == found[1]


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("device", GPUS, ids=str)
def test_videos_decoded_on_the_gpu(device: torch.device, tmp_path: Path) -> None:
    """Nearly the same features, under the same id, with another provenance; never mixed."""
    try:
        decoder_version(GPU_DECODER)
    except DataError as error:
        pytest.skip(str(error))
    ids = [f"v{number}" for number in range(3)]
    for name in ids:  # NVDEC takes no frames as small as those of `small_videos`
        write_video(tmp_path / "videos" / f"{name}.mp4", 12, (320, 240))
    benchmark = small_benchmark(tmp_path, ids)
    settings = replace(SETTINGS, weights=small_weights(tmp_path))
    stores = []
    for decoder in ("torchcodec", GPU_DECODER):
        chosen = replace(settings, decoder=decoder)
        account = extract(benchmark, tmp_path, chosen, [device], say=lambda line: None)
        assert account is not None and account.stored == 3, account
        stores.append(FeatureStore(account.folder.rename(tmp_path / decoder)))
    assert stores[0].fingerprint == stores[1].fingerprint
    assert stores[0].manifest.provenance["decoder"] != stores[1].manifest.provenance["decoder"]
    for name in ids:
        cpu, gpu = (torch.from_numpy(store.read(name)).double() for store in stores)
        assert torch.cosine_similarity(cpu, gpu).min() > 0.99


@pytest.mark.parametrize("device", GPUS, ids=str)
def test_reading_ahead_overwrites_nothing_that_is_being_copied(device: torch.device) -> None:
    rows = torch.arange(64, dtype=torch.float16)[:, None, None].expand(64, 50, 1024).contiguous()

    def read(index: NDArray[np.int64], out: torch.Tensor) -> None:
        torch.index_select(rows, 0, torch.from_numpy(index), out=out)

    index = np.tile(np.arange(64), 8)
    parts = [slice(start, start + 16) for start in range(0, len(index), 16)]
    read_batches = read_ahead(read, index, parts, (50, 1024), device)
    found = torch.cat([batch.float().mean((1, 2)) for batch in read_batches])
    assert np.array_equal(found.cpu().numpy(), index)


@pytest.mark.parametrize("name", sorted(registered()))
def test_no_step_waits_for_the_gpu(name: str) -> None:
    device = GPUS[-1]
    held = toy_examples(48)
    assert isinstance(held.features, torch.Tensor)
    train = replace(held, features=held.features.to(device), device=device)
    method = toy_method(name, "nextvlad", {}).to(device)
    for number, stage in enumerate(method.stages()):
        method.begin_stage(stage)
        stepper = Stepper(method, stage, device, 20.0, bfloat16=True)
        training_mode(method)
        draws = EpochSampler(train.labels, stage.sampler).draw(0, number, 1)
        generator = seeded(0, number, 1, device)
        ready = list(epoch_batches(train, draws, batches(48, 16), generator, RunnerConfig()))
        stepper.step(ready[0], 1)  # makes the optimiser's state
        torch.cuda.set_sync_debug_mode("error")
        try:
            losses = [stepper.step(batch, 1) for batch in ready]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.stack(losses).isfinite().all()
