"""Encoders: torchvision's own preprocessing and features, their weights, TSM, and precision."""

import hashlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from meid_bench.errors import DataError, SettingError
from meid_bench.features.encoder import load_encoder
from meid_bench.features.manifest import Recipe
from meid_bench.features.transform import Transform
from meid_bench.features.tsm import SEGMENT, temporal_shift, tsm_resnet50
from tests.made_videos import picture

SIZE = (320, 240)


def pictures(count: int, transform: Transform) -> torch.Tensor:
    return torch.stack([transform.picture(picture(number, SIZE)) for number in range(count)])


@pytest.mark.parametrize("name", ["resnet101", "swin_t", "efficientnet_b3", "vit_b_16"])
def test_the_transform_is_torchvisions(name: str) -> None:
    preset = models.get_model_weights(name)["IMAGENET1K_V1"].transforms()
    transform = Transform.of(preset)
    frame = picture(3, SIZE)
    ours = transform.normalise(transform.picture(frame)[None])
    theirs = preset(Image.fromarray(frame))[None]
    # Of 256 levels, resizing bytes rather than a PIL image may move a pixel by one or two.
    levels = ((ours - theirs) * torch.tensor(preset.std).view(3, 1, 1) * 255).abs()
    assert ours.shape == theirs.shape
    assert levels.max() < 2.01
    assert levels.mean() < 0.1


def test_the_features_are_what_the_classifier_was_shown() -> None:
    encoder = load_encoder("resnet18", "random:3", precision="float32", batch=4)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = models.resnet18(zero_init_residual=True).eval()
    shown: list[torch.Tensor] = []
    model.fc.register_forward_pre_hook(lambda module, inputs: shown.append(inputs[0]))
    batch = pictures(6, encoder.transform)
    with torch.inference_mode():
        model(encoder.transform.normalise(batch))
    features = encoder.encode(batch)
    assert features.shape == (6, 512)
    assert features.dtype == np.float16
    assert np.allclose(features, shown[0].numpy(), rtol=2e-3, atol=1e-4)
    assert encoder.untrained


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_picture_does_not_depend_on_its_neighbours(precision: str) -> None:
    encoder = load_encoder("resnet18", "random:0", precision=precision, batch=4)
    batch = pictures(4, encoder.transform)
    together = encoder.encode(batch)
    for number in range(4):
        assert np.array_equal(encoder.encode(batch[number : number + 1])[0], together[number])
    assert np.array_equal(encoder.encode(batch.flip(0)), together[::-1])


def test_bfloat16_is_close_to_float32() -> None:
    features = [
        torch.from_numpy(encoder.encode(pictures(4, encoder.transform))).double()
        for encoder in (load_encoder("resnet50", "random:0", precision=p) for p in PRECISIONS)
    ]
    assert torch.cosine_similarity(*features).min() > 0.999


def test_a_compiled_float32_model_is_shown_float32() -> None:
    encoder = load_encoder("resnet18", "random:0", precision="float32")
    shown = pictures(2, encoder.transform)
    compiled = replace(encoder, precision="float32, compiled")
    assert np.array_equal(compiled.encode(shown), encoder.encode(shown))


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_is_close_to_itself() -> None:
    features = [
        torch.from_numpy(encoder.encode(pictures(2, encoder.transform))).double()
        for encoder in (load_encoder("resnet18", "random:0", compiled=c) for c in (False, True))
    ]
    assert torch.cosine_similarity(*features).min() > 0.999


PRECISIONS = ("float32", "bfloat16")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        state = models.resnet18(zero_init_residual=True).state_dict()
    path = tmp_path / f"mine{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    else:
        save_file(state, path)
    encoder, same = load_encoder("resnet18", str(path)), load_encoder("resnet18", "random:5")
    assert encoder.weights == "mine"
    assert not encoder.untrained
    assert encoder.weights_sha256 == same.weights_sha256
    assert encoder.weights_sha256 != load_encoder("resnet18", "random:6").weights_sha256
    batch = pictures(2, encoder.transform)
    assert np.array_equal(encoder.encode(batch), same.encode(batch))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "served"), **options)

        def log_message(self, *_: Any) -> None:
            pass

    (tmp_path / "served").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_weights_are_downloaded_by_torchvision(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        state = models.resnet18(zero_init_residual=True).state_dict()
    torch.save(state, tmp_path / "weights")
    data = (tmp_path / "weights").read_bytes()
    name = f"resnet18-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    entry = models.ResNet18_Weights.IMAGENET1K_V1.value
    monkeypatch.setattr(entry, "url", f"{server}/{name}")

    with pytest.raises(
        DataError, match=rf"Cannot download the weights {name}.*--weights FILE"
    ) as no:
        load_encoder("resnet18")
    assert "random:SEED" in str(no.value)
    (tmp_path / "served" / name).write_bytes(data[:-1])  # Cut on its way.
    with pytest.raises(DataError, match="invalid hash value"):
        load_encoder("resnet18")
    (tmp_path / "served" / name).write_bytes(data)
    encoder = load_encoder("resnet18")
    assert encoder.weights == "IMAGENET1K_V1"
    assert encoder.weights_sha256 == load_encoder("resnet18", "random:5").weights_sha256
    assert (tmp_path / "cache" / "hub" / "checkpoints" / name).is_file()


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet1o1", "random:0", "There is no encoder 'resnet1o1'; did you mean 'resnet101'"),
        ("squeezenet1_0", "random:0", "has no linear classifier"),
        ("resnet18", "IMAGENET1K_V3", "did you mean 'IMAGENET1K_V1'"),
        ("resnet18", "random:", "has no seed"),
        ("resnet18", "./gone.pth", "There are no weights at gone.pth"),
        ("tsm_resnet50", "IMAGENET1K_V1", "torchvision has no weights of tsm_resnet50"),
    ],
)
def test_unknown_names_are_one_sentence(name: str, weights: str, message: str) -> None:
    with pytest.raises((SettingError, DataError)) as error:
        load_encoder(name, weights)
    assert message in str(error.value)


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    text, other, code = (tmp_path / f"{name}.pth" for name in ("text", "other", "code"))
    text.write_text("no weights")
    with pytest.raises(DataError, match="no weights that can be read"):
        load_encoder("resnet18", str(text))
    torch.save(models.resnet34().state_dict(), other)
    with pytest.raises(
        DataError, match=r"have unknown \d+ of the model's tensors.*another encoder"
    ):
        load_encoder("resnet18", str(other))
    torch.save({"state_dict": models.resnet18()}, code)  # Pickled code is never run.
    with pytest.raises(DataError, match="no weights that can be read"):
        load_encoder("resnet18", str(code))


def test_the_shift_is_the_published_one() -> None:
    numbers = torch.arange(2 * SEGMENT * 16 * 2 * 3.0).view(2 * SEGMENT, 16, 2, 3)
    shifted = temporal_shift(numbers)
    for frame in range(2 * SEGMENT):
        first, last = frame % SEGMENT == 0, frame % SEGMENT == SEGMENT - 1
        for channel in range(16):
            if channel < 2:
                expected = torch.zeros(2, 3) if last else numbers[frame + 1, channel]
            elif channel < 4:
                expected = torch.zeros(2, 3) if first else numbers[frame - 1, channel]
            else:
                expected = numbers[frame, channel]
            assert torch.equal(shifted[frame, channel], expected)


def test_tsm_takes_the_published_checkpoint(tmp_path: Path) -> None:
    model = tsm_resnet50()
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("fc.")}
    assert "layer1.0.conv1.net.weight" in own
    published = {f"module.base_model.{name}": value for name, value in own.items()}
    published |= {
        "module.new_fc.weight": torch.zeros(9, 2048),
        "module.new_fc.bias": torch.zeros(9),
    }
    path = tmp_path / "TSM_kinetics.pth.tar"
    torch.save({"epoch": 50, "state_dict": published}, path)
    encoder = load_encoder("tsm_resnet50", str(path), precision="float32", batch=8)
    assert encoder.width == 2048
    batch = pictures(8, encoder.transform)
    model.fc = nn.Identity()
    with torch.inference_mode():
        expected = model.eval()(encoder.transform.normalise(batch))
    assert np.allclose(encoder.encode(batch), expected.numpy(), rtol=2e-3, atol=1e-4)


def test_tsm_takes_batches_of_whole_segments() -> None:
    with pytest.raises(SettingError, match="multiple of 8"):
        load_encoder("tsm_resnet50", "random:0", batch=4)


def test_a_modern_model_by_name() -> None:
    encoder = load_encoder("swin_t", "random:0", batch=2)
    features = encoder.encode(pictures(2, encoder.transform))
    assert features.shape == (2, 768)
    assert np.isfinite(features).all()
    assert "resize shorter side to 232 (bicubic" in str(encoder.transform)


def test_the_feature_id_of_torchvisions_encoders_stays() -> None:
    recipe = Recipe("resnet101", "0" * 64, "t", 200, 2048, "charades_v1_480")
    assert recipe.fingerprint == "fd4b48ad28f5003ac24dee4237db681006f1f087f37a1309ee7a47c4ebb3792f"
    assert recipe.encoder_text == "resnet101"
    clips = replace(
        recipe, encoder="torchvision:s3d", clip_length=16, clip_stride=4, pooling="mean"
    )
    assert clips.encoder_text == "torchvision:s3d, 16 frames 4 apart, mean"
