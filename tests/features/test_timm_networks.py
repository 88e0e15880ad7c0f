"""Timm's models as encoders: its own pipeline on the same frames, weights, names, and refusals."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from meid_bench.cli.extract import extract as extract_command
from meid_bench.errors import DataError, SettingError
from meid_bench.features import families
from meid_bench.features.encoder import Encoder, load_encoder
from meid_bench.features.extract import ExtractSettings, extract
from meid_bench.features.manifest import load_manifest
from meid_bench.features.transform import PilTransform
from meid_bench.inference.video_encoder import VideoEncoder
from tests.extraction import CPU, small_benchmark, small_videos
from tests.made_videos import picture

timm = pytest.importorskip("timm", reason="timm is not installed")

SMALL = "timm:test_vit"


def untrained(name: str, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(name, num_classes=0).eval()
    return model


def encoded(encoder: Encoder, *frames: np.ndarray[Any, Any]) -> torch.Tensor:
    shown = torch.stack([encoder.transform.picture(frame) for frame in frames])
    return torch.from_numpy(encoder.encode(shown)).float()


@pytest.mark.parametrize(
    "name",
    [
        "test_resnet",
        "test_vit",
        "vit_small_patch14_dinov2",
        "vit_tiny_patch16_dinov3_qkvb",
        "vit_base_patch16_siglip_224",
        "test_convnext",
    ],
)
def test_features_are_those_of_timms_own_pipeline(name: str) -> None:
    frame = picture(3, (320, 240))
    encoder = load_encoder(f"timm:{name}", "random:3", precision="float32", batch=1)
    model = untrained(name, 3)
    config = timm.data.resolve_data_config(model=model)
    theirs = timm.data.create_transform(**config, is_training=False)
    with torch.inference_mode():
        expected = model(theirs(Image.fromarray(frame))[None])
    found = encoded(encoder, frame)
    assert found.shape == (1, encoder.width)
    assert torch.allclose(found, expected, rtol=2e-3, atol=2e-4)  # float16 of the store
    assert (encoder.name, encoder.weights, encoder.untrained) == (f"timm:{name}", "random:3", True)


@pytest.mark.parametrize("size", [(320, 240), (240, 321), (64, 50)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize(("share", "resampling"), [(1.0, "bicubic"), (0.875, "bilinear")])
def test_the_transform_is_timms_to_the_bit(
    size: tuple[int, int], mode: str, share: float, resampling: str
) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    theirs = timm.data.create_transform(
        (3, 96, 96), interpolation=resampling, mean=mean, std=std, crop_pct=share, crop_mode=mode
    )
    ours = PilTransform(int(96 / share), 96, mean, std, resampling, mode)
    frame = picture(2, size)
    expected = theirs(Image.fromarray(frame))
    found = ours.normalise(ours.picture(frame)[None])[0]
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_byobnet"])
def test_bfloat16_is_close_to_float32(name: str) -> None:
    frames = [picture(number, (200, 160)) for number in range(2)]
    both = [
        encoded(load_encoder(f"timm:{name}", "random:0", precision=precision, batch=2), *frames)
        for precision in ("float32", "bfloat16")
    ]
    assert torch.cosine_similarity(*both).min() > 0.999


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "visual.trunk."])
def test_weights_from_a_file_of_timms_or_of_authors(
    tmp_path: Path, suffix: str, prefix: str
) -> None:
    """`visual.trunk.` is how OpenCLIP's checkpoints, SigLIP's among them, name their image half."""
    state = {f"{prefix}{name}": t for name, t in untrained("test_vit", 5).state_dict().items()}
    if not prefix:  # as published: with a classifier
        state |= {"head.weight": torch.zeros(10, 64), "head.bias": torch.zeros(10)}
    path = tmp_path / f"mine{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": state}, path)
    else:
        save_file(state, path)
    encoder, same = load_encoder(SMALL, str(path)), load_encoder(SMALL, "random:5")
    assert (encoder.name, encoder.weights, encoder.untrained) == (SMALL, "mine", False)
    assert encoder.weights_sha256 == same.weights_sha256
    assert encoder.weights_sha256 != load_encoder(SMALL, "random:6").weights_sha256


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the Hugging Face hub without a network; what is not in it cannot be had."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_published_weights_come_from_the_hub(hub: Path) -> None:
    repository = hub / "models--timm--test_vit.r160_in1k"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    head = {"head.weight": torch.zeros(1000, 64), "head.bias": torch.zeros(1000)}
    save_file(untrained("test_vit", 5).state_dict() | head, snapshot / "model.safetensors")
    spellings = ((SMALL, None), (SMALL, "r160_in1k"), (f"{SMALL}.r160_in1k", None))
    for name, weights in spellings:
        encoder = load_encoder(name, weights)
        assert (encoder.name, encoder.weights, encoder.untrained) == (SMALL, "r160_in1k", False)
        assert encoder.weights_sha256 == load_encoder(SMALL, "random:5").weights_sha256


def test_weights_that_cannot_be_downloaded(hub: Path) -> None:
    with pytest.raises(DataError, match="Cannot get the weights of timm:test_vit") as no:
        load_encoder(SMALL)
    assert "download model.safetensors from timm/test_vit.r160_in1k" in str(no.value)
    assert "--weights FILE" in str(no.value) and "random:SEED" in str(no.value)
    assert len(str(no.value).splitlines()) == 1


def test_the_tag_decides_the_transform_and_stays_where_weights_do_not_tell_it() -> None:
    sizes = {}
    for name in ("timm:resnet18", "timm:resnet18.a1_in1k", "timm:resnet18.tv_in1k"):
        encoder = load_encoder(name, "random:0")
        sizes[name] = (encoder.name, encoder.transform.resize)
    assert sizes["timm:resnet18"] == sizes["timm:resnet18.a1_in1k"] == ("timm:resnet18", 235)
    assert sizes["timm:resnet18.tv_in1k"] == ("timm:resnet18.tv_in1k", 256)


def test_weights_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    for other in ("test_vit2", "test_resnet"):
        save_file(untrained(other, 0).state_dict(), path)
        with pytest.raises(DataError, match=r"\d+ .*tensors.*another encoder") as no:
            load_encoder(SMALL, str(path))
        assert str(path) in str(no.value) and "'" in str(no.value)


@timm.models.register_model
def unpooled_vit(pretrained: bool = False, **options: Any) -> nn.Module:
    size = {"patch_size": 112, "embed_dim": 16, "depth": 1, "num_heads": 1, "num_classes": 0}
    model: nn.Module = timm.models.VisionTransformer(**size, global_pool="")
    return model


@timm.models.register_model
def unfit_vit(pretrained: bool = False, **options: Any) -> nn.Module:
    model: nn.Module = timm.models.VisionTransformer(img_size=32, depth=1, num_classes=0)
    return model


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("timm:vit_base_patch16_dinov33", "random:0", "did you mean 'timm:vit_base_patch16_dinov3"),
        ("timm:test_vit.r160_in1", None, "There is no set of timm:test_vit weights 'r160_in1'"),
        ("timm:test_vit", "in21k", "did you mean"),
        ("tim:test_vit", "random:0", "no family of encoders 'tim:'; did you mean 'timm:'"),
        (":test_vit", "random:0", "no family of encoders ':'"),
        ("timm:unpooled_vit", "random:0", "no pooled output: it makes 5 x 16 numbers of a picture"),
        ("timm:unfit_vit", "random:0", "cannot be run on a picture of 224 x 224 (Input height"),
        ("timm:lcnet_035", None, "timm has no weights of lcnet_035"),
        ("timm:vit_base_patch16_sapiens2.fb", "random:0", "1024 x 768"),
        ("timm:test_vit", "./gone.pth", "There are no weights at gone.pth"),
        ("timm:vit_tiny_patch16_dinov3_qkvb", "random:x", "has no seed"),
    ],
)
def test_what_is_refused_is_one_sentence(name: str, weights: str | None, message: str) -> None:
    with pytest.raises((SettingError, DataError)) as error:
        load_encoder(name, weights)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def without(monkeypatch: pytest.MonkeyPatch) -> None:
    there = families.find_spec
    monkeypatch.setattr(families, "find_spec", lambda name: None if name == "timm" else there(name))
    monkeypatch.setitem(sys.modules, "timm", None)


def test_a_library_that_is_missing_is_named_with_its_install_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without(monkeypatch)
    with pytest.raises(SettingError, match="needs timm, which is not installed") as no:
        load_encoder(SMALL, "random:0")
    assert "pip install -e '.[timm]'" in str(no.value)
    assert load_encoder("resnet18", "random:0").name == "resnet18"


def listing(*arguments: str) -> list[list[str]]:
    result = CliRunner().invoke(extract_command, ["--list", *arguments])
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.output.splitlines()]


def test_the_list_has_width_and_input_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = listing("test_vit.")
    assert rows[0] == ["encoder", "family", "width", "input", "sees", "installed"]
    assert rows[2] == ["timm:test_vit.r160_in1k", "timm", "64", "160", "1", "frame", "yes"]
    rows = listing("RESNET50")
    assert ["resnet50", "torchvision", "2048", "224", "1", "frame", "yes"] in rows
    assert "tsm_resnet50 torchvision 2048 224 8 of the T frames yes" in map(" ".join, rows)
    without(monkeypatch)
    rows = listing("resnet5*0")
    assert not any("timm:" in row[0] for row in rows)
    assert " ".join(rows[-1]) == ("timm is not installed: `pip install -e '.[timm]'` in a clone")
    with pytest.raises(SettingError, match="No encoder has 'dinov3' in its name; more come with"):
        families.list_encoders("dinov3")


def test_a_store_of_timm_is_continued_and_its_encoder_rebuilt(tmp_path: Path) -> None:
    benchmark = small_benchmark(tmp_path, small_videos(tmp_path, 3))
    settings = ExtractSettings(encoder="timm:test_resnet", weights="random:1", batch=2, workers=1)
    account = extract(benchmark, tmp_path, settings, CPU, say=lambda _: None)
    assert account is not None and account.stored == 3
    manifest = load_manifest(account.folder)
    assert account.folder.name.startswith("timm_test_resnet-random1-4-")
    assert manifest.recipe.encoder == "timm:test_resnet"
    assert manifest.recipe.transform.startswith("resize shorter side to 168 (bilinear, PIL)")
    assert manifest.conditions["timm"] == version("timm")
    encoder = VideoEncoder("a run", manifest, CPU[0]).encoder
    assert encoder.weights_sha256 == manifest.recipe.weights_sha256
    assert encoder.width == manifest.recipe.width == 96


def test_features_that_are_not_finite_are_that_videos_failure(tmp_path: Path) -> None:
    state = untrained("test_resnet", 0).state_dict()
    state["layer4.0.downsample.2.bias"][3] = float("nan")
    save_file(state, tmp_path / "broken.safetensors")
    benchmark = small_benchmark(tmp_path, small_videos(tmp_path, 3))
    weights = str(tmp_path / "broken.safetensors")
    settings = ExtractSettings(encoder="timm:test_resnet", weights=weights, batch=2, workers=1)
    account = extract(benchmark, tmp_path, settings, CPU, say=lambda _: None)
    assert account is not None and account.stored == 0
    assert {failure.error for failure in account.failed.values()} == {
        "its features are not finite in float16"
    }
