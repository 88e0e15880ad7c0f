"""Encoders of clips: torchvision's own features, from any video, in any number of passes."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torchvision import models

from meid_bench.errors import SettingError
from meid_bench.features.decoders import decode_video
from meid_bench.features.encoder import Encoder, load_encoder
from meid_bench.features.extract import ExtractSettings, extract
from meid_bench.features.frames import FrameRule, frame_indices
from meid_bench.features.manifest import CLIP_RULE, load_manifest
from meid_bench.features.store import FeatureStore
from meid_bench.features.video_networks import CLIPS, names
from meid_bench.inference.trained_run import TrainedRun
from tests.extraction import CPU, contents, small_benchmark
from tests.made_videos import FRAMES, picture, write_video

pytestmark = pytest.mark.usefixtures("small_shards")
NAME = "torchvision:r3d_18"
SETTINGS = ExtractSettings(encoder=NAME, weights="random:0", frames=2, workers=2)


def run(root: Path, **changes: Any) -> Any:
    """Extract clips of every video under `root`/videos."""
    ids = [path.stem for path in (root / "videos").iterdir()]
    benchmark = small_benchmark(root, ids)
    return extract(benchmark, root, replace(SETTINGS, **changes), CPU, say=lambda _: None)


def videos(root: Path, *lengths: int) -> None:
    for length in lengths:
        write_video(root / "videos" / f"v{length:02d}.mp4", length, (64, 48))


def theirs(name: str, frames: list[Any], seed: int) -> np.ndarray[Any, Any]:
    """What torchvision's own pipeline shows its classifier of one clip, (D,)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = models.get_model(name).eval()
    shown: list[torch.Tensor] = []
    head = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1]
    head.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        model(models.get_model_weights(name)["DEFAULT"].transforms()(clip)[None])
    return shown[0][0].numpy()


def test_clips_are_those_that_torchvision_measured() -> None:
    assert sorted(CLIPS) == sorted(models.list_models(module=models.video))
    for name, clip in CLIPS.items():
        for entry in models.get_model_weights(name):
            text = entry.meta["_docs"]
            (rate,) = re.findall(r"frame_rate=([\d.]+)", text)
            (length,) = re.findall(r"clip_len=(\d+)", text)
            assert (clip.length, clip.stride) == (int(length), 30 / float(rate)), entry


def test_every_name_is_listed_with_its_width() -> None:
    widths = {line.name: line.width for line in names()}
    assert len(widths) == len(CLIPS)
    assert widths[NAME] == 512
    assert [line.name for line in names("mvit_v2")] == ["torchvision:mvit_v2_s"]


@pytest.mark.parametrize("name", sorted(CLIPS))
def test_a_picture_is_the_presets_to_the_bit(name: str) -> None:
    preset = models.get_model_weights(name)["DEFAULT"].transforms()
    transform = load_transform(name)
    for size in ((320, 240), (100, 131)):
        frame = picture(3, size)
        ours = transform.normalise(transform.picture(frame)[None])[0]
        expected = preset(torch.from_numpy(frame).permute(2, 0, 1)[None])[:, 0]
        assert torch.equal(ours, expected)


def load_transform(name: str) -> Any:
    from meid_bench.features.clip_transform import ClipTransform

    return ClipTransform.of(models.get_model_weights(name)["DEFAULT"].transforms())


@pytest.mark.parametrize("name", ["mvit_v2_s", "mc3_18"])
def test_features_are_torchvisions(name: str) -> None:
    frames = [picture(number, (160, 120)) for number in range(CLIPS[name].length)]
    encoder = load_encoder(f"torchvision:{name}", "random:1", precision="float32")
    assert encoder.batch == encoder.clip.length
    shown = torch.stack([encoder.transform.picture(frame) for frame in frames])
    expected = theirs(name, frames, seed=1)
    assert np.allclose(encoder.encode(shown)[0], expected, rtol=2e-3, atol=1e-3)


def test_a_store_holds_torchvisions_features_of_the_clips(tmp_path: Path) -> None:
    # Longer than a clip, and shorter than one.
    videos(tmp_path, 40, 5)
    account = run(tmp_path, precision="float32")
    assert account.stored == 2
    store = FeatureStore(account.folder)
    recipe = load_manifest(account.folder).recipe
    assert (recipe.clip_length, recipe.clip_stride) == (16, 2)
    assert (recipe.frame_rule, recipe.pooling) == (CLIP_RULE, "mean over time and space")
    for length in (40, 5):
        name = f"v{length:02d}"
        decoded: dict[int, Any] = {}
        path = tmp_path / "videos" / f"{name}.mp4"
        decode_video(path, FrameRule(length), decoded.__setitem__)
        assert len(decoded) == length
        centres = frame_indices(length, 2)
        assert store.frame_index(name).tolist() == centres.tolist()
        row = 1
        clip = [min(max(centres[row] + 2 * (j - 8), 0), length - 1) for j in range(16)]
        expected = theirs("r3d_18", [decoded[int(i)] for i in clip], seed=0)
        found = store.read([name])[0][row]
        assert np.allclose(found, expected, rtol=2e-3, atol=1e-3), np.abs(found - expected).max()


def test_neither_passes_nor_batches_nor_processes_change_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos(tmp_path, 40, FRAMES)
    once = run(tmp_path)
    before = contents(once.folder)
    assert len(before) == 2
    once.folder.rename(tmp_path / "once")
    rule: Callable[..., FrameRule] = Encoder.rule
    monkeypatch.setattr(Encoder, "rule", lambda self, t: replace(rule(self, t), room=20))
    again = run(tmp_path, workers=1)
    assert contents(again.folder) == before
    # A run that goes on where another stopped.
    lost = sorted(again.folder.glob("part-*.h5"))[0]
    lost.unlink()
    assert contents(run(tmp_path).folder) == before


def test_a_clip_does_not_depend_on_its_neighbours() -> None:
    encoder = load_encoder(NAME, "random:0", batch=32)
    shown = [picture(number, (64, 48)) for number in range(32)]
    pictures = torch.stack([encoder.transform.picture(frame) for frame in shown])
    together = encoder.encode(pictures)
    assert together.shape == (2, 512)
    assert np.array_equal(encoder.encode(pictures[:16]), together[:1])
    assert np.array_equal(encoder.encode(pictures[16:]), together[1:])
    assert not np.array_equal(together[0], together[1])


def test_batches_hold_whole_clips() -> None:
    with pytest.raises(SettingError, match=f"--batch 24 must be a multiple of 16 for {NAME}"):
        load_encoder(NAME, "random:0", batch=24)


def test_clips_have_sixteen_rows_where_no_number_is_named(tmp_path: Path) -> None:
    videos(tmp_path, 1)
    account = run(tmp_path, frames=None)
    assert FeatureStore(account.folder).read(["v01"]).shape == (1, 16, 512)


def test_features_that_are_not_finite_are_the_videos_failure(tmp_path: Path) -> None:
    videos(tmp_path, 1)
    model = models.get_model("r3d_18")
    torch.nn.init.constant_(model.stem[0].weight, float("nan"))
    torch.save(model.state_dict(), tmp_path / "nan.pth")
    account = run(tmp_path, weights=str(tmp_path / "nan.pth"))
    assert account.failed["v01"].error == "its features are not finite in float16"


def test_predict_makes_the_same_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos(tmp_path, 40)
    account = run(tmp_path)
    rule: Callable[..., FrameRule] = Encoder.rule
    monkeypatch.setattr(Encoder, "rule", lambda self, t: replace(rule(self, t), room=20))
    task = SimpleNamespace(frames=2, width=512)
    trained = TrainedRun(
        folder=tmp_path,
        record=cast(Any, None),
        model=cast(Any, SimpleNamespace(task=task)),
        method=cast(Any, None),
        manifest=load_manifest(account.folder),
        device=CPU[0],
    )
    stored = FeatureStore(account.folder).read(["v40"])[0]
    assert np.array_equal(trained.encode(tmp_path / "videos" / "v40.mp4"), stored)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(SettingError, match="did you mean 'torchvision:mvit_v2_s'"):
        load_encoder("torchvision:mvit_v2_b", "random:0")
