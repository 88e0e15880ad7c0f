"""Inputs and weights from closed forms: golden values of other code can be made of them again."""

import torch
from torch import Tensor, nn


def wave(*shape: int, start: float = 0.0) -> Tensor:
    """sin(start + 0.7 i + 0.013 i^2) for i = 0, 1, ... in the given shape, float32."""
    place = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(start + 0.7 * place + 0.013 * place**2).float().view(shape)


def some_labels(videos: int, classes: int) -> Tensor:
    """Video v has the classes c with v (c + 2) + c^2 a multiple of 3, (videos, classes) of 0, 1."""
    v, c = torch.arange(videos).unsqueeze(1), torch.arange(classes)
    return ((v * (c + 2) + c**2) % 3 == 0).float()


def fill(module: nn.Module) -> None:
    """Set every parameter and buffer: 0.3 waves, around 1 for variances and norms' weights."""
    for number, (name, value) in enumerate(sorted(module.state_dict().items())):
        if name.endswith("num_batches_tracked"):
            continue
        numbers = wave(*value.shape, start=float(number))
        if name.endswith("running_var"):
            value.copy_(0.5 + numbers.abs())
        elif "norm" in name and name.endswith("weight"):
            value.copy_(1 + 0.2 * numbers)
        else:
            value.copy_(0.3 * numbers)
