"""Batch normalisation over the whole batch where several ranks hold parts of it."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from meid_bench.distributed import summed
from meid_bench.errors import MethodError

_CONVERTED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class RankBatchNorm(_BatchNorm):
    """Normalise by mean and variance over all ranks' rows: (rows, F) or (rows, F, ...).

    The variance is taken around the common mean, in float32, so that the numbers are those of one
    process. torch's SyncBatchNorm does the same on GPUs only.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from 2."""

    def forward(self, input: Tensor) -> Tensor:
        """As the layer that it replaces."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        over = [dim for dim in range(x.ndim) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(x.ndim)]
        rows = x.new_full((1,), float(x.numel() // x.shape[1]))
        sums = summed(torch.cat([x.sum(over), rows]))
        count = sums[-1]
        mean = sums[:-1] / count
        centred = x - mean.view(shape)
        variance = summed(centred.square().sum(over)) / count
        self._remember(mean.detach(), variance.detach(), count.detach())
        output = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            output = output * self.weight.view(shape) + self.bias.view(shape)
        return output.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        seen = cast(Tensor, self.num_batches_tracked)
        seen += 1
        weight = self.momentum if self.momentum is not None else 1 / seen
        unbiased = variance * (count / (count - 1).clamp_min(1))
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(unbiased, weight)


def normalise_over_ranks(module: nn.Module) -> None:
    """Let every batch normalisation within `module` use the whole batch; weights stay in place.

    Raises:
        MethodError: One is a class of its own, whose statistics would be of one rank's part.
    """
    for name, part in module.named_modules():
        if type(part) in _CONVERTED:
            part.__class__ = RankBatchNorm  # hooks, parameters and their names stay
        elif isinstance(part, _BatchNorm) and not isinstance(
            part, (RankBatchNorm, nn.SyncBatchNorm)
        ):
            raise MethodError(
                f"{name} is a {type(part).__name__}, whose statistics would be of one rank's part "
                "of a batch; use torch's own nn.BatchNorm1d, or train in one process"
            )
