"""Batch part: one rank's videos of a batch that is divided over several ranks.

A loss is then the mean over this part, which may be empty. What it asks of the whole batch (a
variance, a count) goes through `whole_batch`. Training in one process needs none of this.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from meid_bench.distributed import gathered, own_slice, slice_sizes
from meid_bench.methods.method import Batch, random_order


@dataclass
class BatchPart(Batch):
    """This rank's videos of a batch of `total`; partners and random numbers are the whole's.

    Attributes:
        total: Videos of the whole batch, over all ranks. The generator is the same on every rank.
    """

    total: int

    def shuffled(self, count: int | None = None) -> "BatchPart":
        """This part's partners, from the whole batch."""
        order = random_order(self.total, count, self.generator)[own_slice(self.total)]
        features, labels = (
            whole_batch(self, values)[order] for values in (self.features, self.labels)
        )
        picked = None if self.picked is None else whole_batch(self, self.picked)[order]
        return BatchPart(features, labels, picked, self.generator, self.total)

    def uniform(self, *shape: int) -> Tensor:
        """This part's rows of random numbers that are drawn for the whole batch."""
        device = self.features.device
        numbers = torch.rand(self.total, *shape, generator=self.generator, device=device)
        return numbers[own_slice(self.total)]


def whole_batch(batch: Batch, values: Tensor) -> Tensor:
    """All videos' rows of `values` (B, ...), with gradient: for statistics over the whole batch."""
    return gathered(values, slice_sizes(batch.total)) if isinstance(batch, BatchPart) else values


def size_of_whole(batch: Batch) -> int:
    """Videos of the whole batch."""
    return batch.total if isinstance(batch, BatchPart) else len(batch)


def places(batch: Batch) -> Tensor:
    """Where the videos stand in the whole batch, (B,) int64."""
    everyone = torch.arange(size_of_whole(batch), device=batch.features.device)
    return everyone[own_slice(batch.total)] if isinstance(batch, BatchPart) else everyone
