"""torchcodec on a GPU: what can be told without one. tests/test_gpu.py has what cannot."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from meid_bench.errors import DataError, SettingError
from meid_bench.features import decoders
from meid_bench.features.decoders import GPU_DECODER, decode_video, decoder_version, placed
from meid_bench.features.extract import ExtractSettings, extract
from meid_bench.features.frames import FrameRule
from meid_bench.features.transform import PilTransform, Transform
from tests.extraction import CPU, small_benchmark, small_videos
from tests.made_videos import picture

GPU = torch.device("cuda", 1)


class Status:
    """As torchcodec's: true where the processor decodes, with the reason as text."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __bool__(self) -> bool:
        return bool(self.reason)

    def __str__(self) -> str:
        return self.reason


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A torchcodec of twelve grey frames, which says where it was told to decode."""
    seen = SimpleNamespace(device="", reason="")

    class VideoDecoder:
        cpu_fallback = Status("")

        def __init__(self, path: str, *, device: str, **_: Any) -> None:
            seen.device = device
            self.cpu_fallback = Status(seen.reason)

        def __len__(self) -> int:
            return 12

        def get_frames_at(self, indices: list[int]) -> Any:
            data = torch.tensor(indices, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 8, 8, 3)
            return SimpleNamespace(data=data, pts_seconds=torch.tensor(indices) / 4)

        def get_frame_at(self, index: int) -> Any:
            return SimpleNamespace(pts_seconds=0.0)

    module, part = ModuleType("torchcodec"), ModuleType("torchcodec.decoders")
    module.__spec__ = ModuleSpec("torchcodec", None)
    part.VideoDecoder = VideoDecoder  # type: ignore[attr-defined]
    module.decoders = part  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchcodec", module)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", part)
    monkeypatch.setattr(decoders, "installed_version", lambda name: {"torchcodec": "9.9"}[name])
    return seen


def test_frames_stay_on_the_gpu_of_the_encoder(library: SimpleNamespace, tmp_path: Path) -> None:
    kept: dict[int, Any] = {}
    (tmp_path / "a.mp4").write_bytes(b"video")
    decoder = placed(GPU_DECODER, GPU)
    decoded = decode_video(tmp_path / "a.mp4", FrameRule(3), kept.__setitem__, decoder=decoder)
    assert library.device == "cuda:1"
    assert decoded.index.tolist() == [2, 6, 10]
    assert decoded.time.tolist() == [0.5, 1.5, 2.5]
    assert all(isinstance(frame, torch.Tensor) for frame in kept.values())
    assert [int(frame[0, 0, 0]) for frame in kept.values()] == [2, 6, 10]


def test_a_video_that_the_gpu_cannot_decode_fails_with_the_reason(
    library: SimpleNamespace, tmp_path: Path
) -> None:
    library.reason = "Falling back:\n unsupported codec"
    (tmp_path / "a.mp4").write_bytes(b"video")
    kept: dict[int, Any] = {}
    with pytest.raises(DataError, match=r"GPU cannot decode it \(Falling back: unsupported codec"):
        decode_video(tmp_path / "a.mp4", FrameRule(3), kept.__setitem__, decoder=f"{GPU_DECODER}:0")
    assert not kept


def test_it_is_provenance(library: SimpleNamespace) -> None:
    assert decoder_version(GPU_DECODER) == f"torchcodec 9.9, CUDA {torch.version.cuda}"
    assert decoder_version("torchcodec") == "torchcodec 9.9"
    del sys.modules["torchcodec.decoders"].VideoDecoder.cpu_fallback
    with pytest.raises(DataError, match="does not say whether the GPU decodes"):
        decoder_version(GPU_DECODER)


def test_it_is_refused_where_the_encoder_is_on_the_cpu(tmp_path: Path) -> None:
    benchmark = small_benchmark(tmp_path, small_videos(tmp_path, 3))
    settings = ExtractSettings(decoder=GPU_DECODER, weights="random:0")
    with pytest.raises(SettingError, match=r"decodes on the GPU that encodes.*this run is on cpu"):
        extract(benchmark, tmp_path, settings, CPU)
    assert not (tmp_path / "features").exists()
    assert placed("pyav", GPU) == "pyav"


@pytest.mark.parametrize("transform", [Transform(), PilTransform()])
def test_a_tensor_becomes_the_same_picture_as_an_array(transform: Transform) -> None:
    frame = picture(1, (90, 70))
    assert torch.equal(transform.picture(frame), transform.picture(torch.from_numpy(frame)))
    assert transform.picture(frame).shape == (3, 224, 224)
    assert np.asarray(transform.picture(frame)).dtype == np.uint8
