"""Scoring: probabilities of every video of a list over all ranks, and AP on their own device."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meid_bench.distributed import gathered, own_slice, slice_sizes
from meid_bench.errors import MethodError
from meid_bench.methods.method import Method
from meid_bench.methods.samplers import batches
from meid_bench.training.data import Examples

CLASSES_AT_ONCE = 64  # are sorted: 179,334 x 64 scores are 46 MB


@torch.no_grad()
def predict_scores(method: Method, examples: Examples, batch: int) -> NDArray[np.float32]:
    """Probabilities of every video, (N, C) float32, the same on every rank.

    Never in bfloat16, whose few digits would tie scores that AP should order.

    Raises:
        MethodError: The method's logits have a wrong shape or are not finite.
    """
    method.eval()
    classes = examples.labels.shape[1]
    index = np.arange(len(examples))[own_slice(len(examples))]
    found = [torch.empty(0, classes, device=examples.device)]
    for features, _ in examples.batches(index, batches(len(index), batch)):
        logits = method(features)
        if logits.shape != (len(features), classes):
            raise MethodError(
                f"{type(method).__name__} returned logits of shape {tuple(logits.shape)}; "
                f"expected {(len(features), classes)}, videos by classes"
            )
        found.append(logits.float().sigmoid())
    everyone = gathered(torch.cat(found), slice_sizes(len(examples)))
    scores: NDArray[np.float32] = everyone.cpu().numpy()
    if not np.isfinite(scores).all():
        raise MethodError(f"{type(method).__name__} returned logits that are not finite")
    return scores


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
    found = []
    parts = (torch.split(each, CLASSES_AT_ONCE, 1) for each in (scores, labels))
    for some, mask in zip(*parts, strict=True):
        block, positive = some.T.contiguous(), mask.T != 0
        # Probabilities are at least 0: -1 pads classes with fewer positives, below all of them.
        hits = torch.where(positive, block, -1.0).topk(most, dim=1).values.flip(1).contiguous()
        retrieved = block.shape[1] - torch.searchsorted(block.sort(dim=1).values, hits)
        correct = most - torch.searchsorted(hits, hits)
        precision = torch.where(hits >= 0, correct / retrieved, 0.0)
        found.append(precision.sum(1) / positive.sum(1))
    return torch.cat(found)
