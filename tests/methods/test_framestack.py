"""FrameStack: how many frames of which video, in which order, with which labels, from which AP."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.framestack import FrameStack, FrameStackConfig
from meid_bench.methods.aggregators import NonlinearConfig, aggregator_maker
from meid_bench.methods.batch_part import places
from meid_bench.methods.frame_draws import mean_ap, partner_share, stack_frames
from meid_bench.methods.method import Batch, Stage
from tests.small_methods import small_batch
from tests.toy import FRAMES, TASK

STAGE = Stage("train", 100, 1e-3)


def build(config: FrameStackConfig = FrameStackConfig()) -> FrameStack:  # noqa: B008
    torch.manual_seed(0)
    return FrameStack(
        TASK, config, aggregator_maker("nonlinear", NonlinearConfig(dropout=0), FRAMES)
    )


def reference_stack(own: Tensor, partner: Tensor, share: float) -> Tensor:
    """One pair, frame by frame, with numpy's linspace cut to whole numbers."""
    frames = len(own)
    others = int(np.float32(share) * frames)
    rows = [partner[int(i)] for i in np.linspace(0, frames - 1, others)]
    rows += [own[int(i)] for i in np.linspace(0, frames - 1, frames - others)]
    return torch.stack(rows)


@pytest.mark.parametrize("frames", [1, 2, 7, 60, 150, 200])
def test_frames_are_those_of_the_reference_at_every_share(frames: int) -> None:
    shares = torch.linspace(0, 1, 41)
    own = torch.arange(frames).float().expand(41, frames).unsqueeze(-1)
    partner = own + 1000
    stacked = stack_frames(own, partner, shares)
    for row, share in enumerate(shares.tolist()):
        expected = reference_stack(own[row], partner[row], share)
        assert torch.equal(stacked[row], expected), share


def test_the_partner_comes_first_and_both_parts_are_in_order_of_time() -> None:
    own = torch.arange(6.0).view(1, 6, 1)
    stacked = stack_frames(own, own + 10, torch.tensor([0.4])).flatten().tolist()
    assert stacked == [10, 15, 0, 1, 3, 5]


def test_shares_by_hand() -> None:
    share = partner_share(torch.tensor([0.3, 0.0, 0.0, 0.2]), torch.tensor([0.1, 0.5, 0.0, 0.0]))
    # The better a video is learnt, the more frames its partner gets; half each at the start.
    torch.testing.assert_close(share, torch.tensor([0.75, 0.0, 0.5, 1.0]))


def test_a_videos_ap_is_the_mean_over_its_positives_or_over_all_classes() -> None:
    labels = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    ap = torch.tensor([0.2, 0.4, 0.6, 0.8])
    torch.testing.assert_close(mean_ap(labels, ap, "positives"), torch.tensor([0.3, 0.6, 0.0]))
    torch.testing.assert_close(mean_ap(labels, ap, "classes"), torch.tensor([0.15, 0.15, 0.0]))


def test_shares_are_float32_where_the_network_is_in_bfloat16() -> None:
    labels, ap = torch.ones(2, 3), torch.tensor([0.301, 0.302, 0.303])
    with torch.autocast("cpu", torch.bfloat16):
        found = mean_ap(labels, ap, "positives")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full((2,), 0.302))


@pytest.mark.parametrize(("size", "ratio"), list(product([1, 2, 5, 128], [0.0, 0.5, 1.0])))
def test_the_ratio_of_a_batch_is_stacked(size: int, ratio: float) -> None:
    features = torch.arange(float(size)).view(size, 1, 1)
    some = Batch(features, torch.zeros(size, 1), None, torch.Generator().manual_seed(0))
    stacked = int(ratio * size)
    partners = some.shuffled(stacked).features.flatten().tolist()
    assert sorted(partners[:stacked]) == list(range(stacked))
    assert partners[stacked:] == list(range(stacked, size))
    assert places(some).tolist() == list(range(size))


def test_nothing_is_stacked_before_there_is_an_ap() -> None:
    method, some = build(), small_batch(seed=3)
    logits = method(some.features)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, some.labels, reduction="none"
    )
    expected = ((1 - torch.exp(-bce)) * bce).mean()  # focal, gamma 1
    assert method.loss(some, STAGE, 0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_running_ap_is_the_previous_epochs_and_nan_counts_as_nothing() -> None:
    method = build()
    first = torch.tensor([0.9, 0.8, float("nan"), 0.1, 0.2, 0.3])
    method.end_epoch(STAGE, 0, first)
    torch.testing.assert_close(method.running_ap, first.nan_to_num(0.0))
    method.end_epoch(STAGE, 1, first / 2)
    torch.testing.assert_close(method.running_ap, first.nan_to_num(0.0) / 2)
    assert "running_ap" in method.state_dict()  # a resumed run needs it


@pytest.mark.parametrize("over", ["positives", "classes"])
def test_the_loss_of_a_stacked_batch_video_by_video(over: str) -> None:
    method, some = build(FrameStackConfig(mean_over=over)), small_batch(seed=3)  # type: ignore[arg-type]
    ap = torch.tensor([0.9, 0.5, 0.3, 0.2, 0.1, 0.05])
    method.end_epoch(STAGE, 0, ap)
    loss = method.loss(some, STAGE, 1).item()

    generator = torch.Generator().manual_seed(3)  # the same draws, in the same order
    order = torch.randperm(6, generator=generator)  # the first half, among themselves
    x, y = some.features, some.labels
    features, labels = [], []
    for i, j in enumerate(order.tolist()):
        divisor = [6.0, 6.0] if over == "classes" else [y[i].sum(), y[j].sum()]
        own, other = (y[i] * ap).sum() / divisor[0], (y[j] * ap).sum() / divisor[1]
        share = (own / (own + other)).item()
        features.append(reference_stack(x[i], x[j], share))
        labels.append(y[i] * (1 - share) + y[j] * share)
    features += list(x[6:])
    labels += list(y[6:])
    bce = torch.nn.functional.binary_cross_entropy_with_logits(
        method(torch.stack(features)), torch.stack(labels), reduction="none"
    )
    expected = ((1 - torch.exp(-bce)) * bce).mean().item()
    assert loss == pytest.approx(expected, rel=1e-5)
