"""Clip encoders of transformers: its own processor and tokens, on tiny models in a folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from meid_bench.errors import DataError, SettingError
from meid_bench.features.encoder import load_encoder
from meid_bench.features.transformers_networks import names
from tests.made_videos import picture

transformers: Any = pytest.importorskip("transformers")
SIDE, LENGTH = 32, 4


def vjepa2(folder: Path) -> Path:
    config = transformers.VJEPA2Config(
        crop_size=SIDE,
        frames_per_clip=LENGTH,
        hidden_size=24,
        num_attention_heads=2,
        num_hidden_layers=2,
        pred_hidden_size=12,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        pred_num_mask_tokens=2,
    )
    return saved(
        folder, transformers.VJEPA2Model, config, transformers.VJEPA2VideoProcessor(crop_size=SIDE)
    )


def videomae(folder: Path, processor: str = "VideoMAEVideoProcessor") -> Path:
    config = transformers.VideoMAEConfig(
        image_size=SIDE,
        num_frames=LENGTH,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
    )
    crop = {"height": SIDE, "width": SIDE}
    made = getattr(transformers, processor)(size={"shortest_edge": SIDE}, crop_size=crop)
    return saved(folder, transformers.VideoMAEModel, config, made)


def old_videomae(folder: Path) -> Path:
    """As the hub has them: the figures are an image processor's."""
    return videomae(folder, "VideoMAEImageProcessor")


def saved(folder: Path, kind: Any, config: Any, processor: Any) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("make", [vjepa2, videomae, old_videomae])
def test_features_are_the_librarys(make: Any, tmp_path: Path) -> None:
    folder = make(tmp_path / "mine")
    encoder = load_encoder(f"transformers:{folder}", precision="float32")
    frames = np.stack([picture(number, (96, 80)) for number in range(2 * LENGTH)])
    processor = transformers.AutoVideoProcessor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    clips = list(torch.from_numpy(frames).permute(0, 3, 1, 2).split(LENGTH))
    with torch.inference_mode():
        tokens = model(**processor(clips, return_tensors="pt")).last_hidden_state
    shown = torch.stack([encoder.transform.picture(frame) for frame in frames])
    assert np.allclose(encoder.encode(shown), tokens.mean(1).numpy(), rtol=2e-3, atol=1e-3)
    assert (encoder.name, encoder.weights) == ("transformers:mine", "pretrained")
    assert (encoder.clip.length, encoder.clip.stride, encoder.width) == (LENGTH, 4, 24)
    assert encoder.pooling == "mean of the last layer's tokens"
    # As `predict` loads it: the name of the recipe, and where that model lies.
    again = load_encoder(encoder.name, str(folder))
    assert (again.name, again.weights_sha256) == (encoder.name, encoder.weights_sha256)
    half = load_encoder(f"transformers:{folder}", precision="bfloat16").encode(shown)
    close = torch.cosine_similarity(torch.from_numpy(half).double(), tokens.mean(1).double())
    assert close.min() > 0.999


def test_random_weights_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    folder = videomae(tmp_path / "mine")
    sums = [
        load_encoder(f"transformers:{folder}", f"random:{seed}").weights_sha256
        for seed in (0, 1, 1)
    ]
    assert sums[0] != sums[1] == sums[2]
    assert load_encoder(f"transformers:{folder}", "random:0").untrained


def test_models_that_are_no_clip_encoders_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "vit").mkdir()
    transformers.ViTConfig(hidden_size=24).save_pretrained(tmp_path / "vit")
    with pytest.raises(SettingError, match=r"is of type vit, expected one of clips: vjepa2, v"):
        load_encoder(f"transformers:{tmp_path / 'vit'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Cannot get the config.json of .*name its folder"):
        load_encoder(f"transformers:{tmp_path / 'empty'}")


def test_a_processor_without_a_transform_is_one_sentence(tmp_path: Path) -> None:
    folder = vjepa2(tmp_path / "mine")
    file = folder / "video_preprocessor_config.json"
    figures = json.loads(file.read_text())
    file.write_text(json.dumps(figures | {"do_normalize": False}))
    with pytest.raises(SettingError, match="expected one that resizes, crops a square"):
        load_encoder(f"transformers:{folder}")
    file.unlink()
    with pytest.raises(SettingError, match="has no video processor that can be read"):
        load_encoder(f"transformers:{folder}")


def test_published_models_are_listed() -> None:
    (line,) = names("vitl-fpc64")
    assert (line.width, line.size, line.clip.length) == (1024, 256, 64)
