"""Average precision on the scores' own device: for the training videos, once an epoch."""

import torch
from torch import Tensor

BLOCK = 64  # classes sorted at once: 179,334 x 64 scores are 46 MB


@torch.no_grad()
def device_average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Average precision of every class, as `metrics.average_precision` has it, in torch.

    Each class's scores are sorted once and its positives looked up, ties being one threshold.

    Args:
        scores: (N, C) float32.
        labels: (N, C) of 0 and 1.

    Returns:
        (C,) float32 on the scores' device; NaN for a class without positives.
    """
    most = int(labels.sum(0).max())
    blocks = zip(torch.split(scores, BLOCK, 1), torch.split(labels, BLOCK, 1), strict=True)
    return torch.cat([_block(part.T.contiguous(), mask.T != 0, most) for part, mask in blocks])


def _block(scores: Tensor, positive: Tensor, most: int) -> Tensor:
    """AP of (classes, N) scores of which at most `most` a class are positive."""
    # Probabilities are at least 0: -1 pads classes with fewer positives, below all of them.
    hits = torch.where(positive, scores, -1.0).topk(most, dim=1).values.flip(1).contiguous()
    retrieved = scores.shape[1] - torch.searchsorted(scores.sort(dim=1).values, hits)
    correct = most - torch.searchsorted(hits, hits)
    precision = torch.where(hits >= 0, correct / retrieved, 0.0)
    return precision.sum(1) / positive.sum(1)
