"""Which frames of a video a training step sees."""

import pytest
import torch

from meid_bench.methods.method import Batch
from meid_bench.methods.settings import RunnerConfig
from meid_bench.training.data import draw_frames

VIDEOS, FRAMES = 500, 10


def frames_drawn(rule: RunnerConfig) -> torch.Tensor:
    numbers = torch.arange(float(FRAMES)).expand(VIDEOS, FRAMES).unsqueeze(-1)
    generator = torch.Generator().manual_seed(0)
    batch = Batch(numbers.contiguous(), torch.zeros(VIDEOS, 1), None, generator)
    return draw_frames(batch, rule).squeeze(-1)


@pytest.mark.parametrize("count", [None, FRAMES, FRAMES + 1])
def test_all_frames_are_taken_as_they_are(count: int | None) -> None:
    assert torch.equal(
        frames_drawn(RunnerConfig(training_frames=count))[0], torch.arange(float(FRAMES))
    )


def test_drawn_frames_are_distinct_in_order_and_each_as_likely() -> None:
    drawn = frames_drawn(RunnerConfig(training_frames=4))
    assert drawn.shape == (VIDEOS, 4)
    assert (drawn.diff(dim=1) > 0).all()
    share = drawn.flatten().long().bincount(minlength=FRAMES) / VIDEOS
    torch.testing.assert_close(share, torch.full((FRAMES,), 0.4), atol=0.1, rtol=0)


def test_with_replacement_frames_repeat_as_often_as_chance_has_it() -> None:
    drawn = frames_drawn(RunnerConfig(training_frames=4, with_replacement=True))
    assert (drawn.diff(dim=1) >= 0).all()
    distinct = (drawn.diff(dim=1) > 0).all(dim=1).float().mean()
    assert distinct == pytest.approx(0.9 * 0.8 * 0.7, abs=0.08)
    share = drawn.flatten().long().bincount(minlength=FRAMES) / VIDEOS
    torch.testing.assert_close(share, torch.full((FRAMES,), 0.4), atol=0.1, rtol=0)
