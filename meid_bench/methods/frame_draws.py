"""Frames that a step sees: drawn with replacement, or stacked from two videos; pure."""

from typing import Literal

import torch
from torch import Tensor

from meid_bench.methods.batch_part import places, size_of_whole
from meid_bench.methods.method import Batch

MeanOver = Literal["positives", "classes"]


def with_replacement(frames: Tensor, batch: Batch, count: int) -> Tensor:
    """Draw each video's frames, in order and with replacement: (B, T, D) -> (B, count, D).

    Args:
        frames: Of the batch's videos.
        batch: Whose random numbers to use.
        count: How many to draw.

    Reference: VideoLT's random_sample (ops/feature_loader.py at 1732d5c).
    """
    total, width = frames.shape[1:]
    drawn = (batch.uniform(count) * total).long().clamp_max(total - 1)
    index = drawn.sort(dim=1).values.unsqueeze(-1).expand(-1, -1, width)
    return frames.gather(1, index)


def pairs(batch: Batch, ap: Tensor, ratio: float, over: MeanOver) -> tuple[Batch, Tensor]:
    """Each video's partner, and the partner's share of its frames and labels.

    Args:
        batch: Videos to stack.
        ap: Running AP of each class, (C,).
        ratio: Share of the batch that is stacked, its first videos, in pairs among themselves.
        over: What a video's AP is the mean over.

    Returns:
        The partners in the order of the batch, and shares (B,), 0 where nothing is stacked.

    Reference: VideoLT's FrameStack (ops/Augment.py at 1732d5c).
    Differs: a video without any class, which that code's lists do not have, gives and takes half.
    """
    stacked = int(ratio * size_of_whole(batch))
    partner = batch.shuffled(stacked)
    share = partner_share(mean_ap(batch.labels, ap, over), mean_ap(partner.labels, ap, over))
    bare = (batch.labels.sum(1) == 0) | (partner.labels.sum(1) == 0)
    share = torch.where(bare, 0.5, share)  # no class that could be learnt more or less
    return partner, share * (places(batch) < stacked)


def mean_ap(labels: Tensor, ap: Tensor, over: MeanOver) -> Tensor:
    """Each video's running AP, (B,), from labels (B, C) and APs (C,)."""
    found = (labels * ap).sum(1)  # no matrix product: autocast would make it bfloat16
    return found / (labels.sum(1).clamp_min(1) if over == "positives" else labels.shape[1])


def partner_share(own: Tensor, partner: Tensor) -> Tensor:
    """The partner's share of the frames, (B,): own AP over the sum; 1/2 where both are 0."""
    total = own + partner
    return torch.where(total < 1e-5, 0.5, own / total.clamp_min(1e-5))


def stack_frames(own: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Of each pair first the partner's frames, then its own, each part spread over its video.

        own      a0 a1 a2 a3 a4 a5      share 0.4: int(0.4 * 6) = 2 of the partner, 4 own
        partner  b0 b1 b2 b3 b4 b5
        result   b0 b5 a0 a1 a3 a5

    Args:
        own: (B, T, D).
        partner: (B, T, D).
        share: The partner's, (B,) in [0, 1].

    Returns:
        (B, T, D).
    """
    frames, width = own.shape[1:]
    place = torch.arange(frames, device=own.device).expand(len(own), frames)
    others = (share * frames).long().unsqueeze(1)
    is_other = place < others
    count = torch.where(is_other, others, frames - others)
    within = torch.where(is_other, place, place - others)
    # Whole numbers: the floor of linspace(0, T - 1, count), and 0 where there is one frame.
    index = within * (frames - 1) // (count - 1).clamp_min(1)
    index = index.unsqueeze(-1).expand(-1, -1, width)
    return torch.where(is_other.unsqueeze(-1), partner.gather(1, index), own.gather(1, index))
