"""Predict: probabilities of every video of a list, over all ranks."""

import numpy as np
import torch
from numpy.typing import NDArray

from meid_bench.distributed import gathered, own, shares
from meid_bench.errors import MethodError
from meid_bench.methods.method import Method
from meid_bench.training.data import Examples, in_parts


@torch.no_grad()
def predict(method: Method, examples: Examples, batch: int) -> NDArray[np.float32]:
    """Probabilities of every video, (N, C) float32, the same on every rank.

    Never in bfloat16, whose few digits would tie scores that AP should order.

    Raises:
        MethodError: The method's logits have a wrong shape or are not finite.
    """
    method.eval()
    classes = examples.labels.shape[1]
    index = np.arange(len(examples))[own(len(examples))]
    found = [torch.empty(0, classes, device=examples.device)]
    for features, _ in examples.batches(index, in_parts(len(index), batch)):
        logits = method(features)
        if logits.shape != (len(features), classes):
            raise MethodError(
                f"{type(method).__name__} returned logits of shape {tuple(logits.shape)}; "
                f"expected {(len(features), classes)}, videos by classes"
            )
        found.append(logits.float().sigmoid())
    everyone = gathered(torch.cat(found), shares(len(examples)))
    scores: NDArray[np.float32] = everyone.cpu().numpy()
    if not np.isfinite(scores).all():
        raise MethodError(f"{type(method).__name__} returned logits that are not finite")
    return scores
