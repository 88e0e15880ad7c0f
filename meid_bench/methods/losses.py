"""Losses and class weights that several methods share; pure."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def focal_loss(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """Focal loss per video and class, (B, C); gamma 0 is binary cross-entropy.

    Args:
        logits: (B, C).
        targets: (B, C) in [0, 1]; mixed labels are allowed.
        gamma: Exponent, at least 0.

    Reference:
        Lin et al., Focal Loss for Dense Object Detection, eq. 4 with alpha 1; the probability of
        the target is exp(-BCE), as in VideoLT's ops/losses.py at 1732d5c, so that soft targets
        have one too.

    Differs:
        1 - p is kept above 1e-7: for gamma < 1 its power has an infinite slope at 0, and a
        saturated logit would make the gradient NaN.
    """
    bce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if gamma == 0:
        return bce
    missing = -torch.expm1(-bce)
    return missing.clamp_min(1e-7) ** gamma * bce


def effective_number_weights(counts: Sequence[int], beta: float) -> Tensor:
    """Class weights (C,), proportional to (1 - beta) / (1 - beta^n_c), with sum C.

    Args:
        counts: Training videos per class; a class without any counts as having one.
        beta: In [0, 1); 0 gives every class the weight 1.

    Reference: Cui et al. (CVPR 2019), eq. 2 and the normalisation below it.
    """
    n = torch.tensor(counts, dtype=torch.float64).clamp_min(1)
    weights = (1 - beta) / (1 - beta**n)
    return (weights * (len(counts) / weights.sum())).float()


def log_odds(counts: Sequence[int], videos: int) -> Tensor:
    """Log-odds of each class among the training videos, log(n_c / (N - n_c)), (C,).

    Args:
        counts: n_c, training videos per class; a class without any counts as having one, and one
            that every video has as missing in one.
        videos: N, training videos.
    """
    total = max(videos, 2)
    n = torch.tensor(counts, dtype=torch.float64).clamp(1, total - 1)
    return (n / (total - n)).log().float()


def reduced(values: Tensor, reduction: str) -> Tensor:
    """One number from losses per video and class, (B, C).

    Args:
        values: Losses, (B, C).
        reduction: "mean" over videos and classes, or "sum" over classes and mean over videos.
    """
    return values.mean() if reduction == "mean" else values.sum(1).mean()


def picked_mask(labels: Tensor, picked: Tensor) -> Tensor:
    """1 where a loss counts, 0 at a video's positives other than the class it was drawn for.

    Args:
        labels: (B, C) of 0 and 1.
        picked: (B,) int64, the class drawn for each video.

    Reference: VideoLT's ResamplingDataset_Mask (ops/feature_loader.py at 1732d5c).
    """
    return (1 - labels).scatter(1, picked.unsqueeze(1), 1.0)


def unmasked_classes(labels: Tensor) -> Tensor:
    """How many classes `picked_mask` leaves of a video, whichever was drawn; the mean over videos.

    Args:
        labels: (B, C) of 0 and 1, at least one a video.

    Reference:
        MEID's authors' rs_train (dy_main_ddp_diff.py, base_main_ddp.py of github.com/abcdvzz/MEID
        at be39ade) multiplies the mask onto a loss that is a mean already: all that is left of it
        is this factor.
    """
    return labels.shape[1] + 1 - labels.sum(1).mean()
