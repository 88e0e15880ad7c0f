"""TSM-ResNet-50: frames of a segment share some of their channels with the frames beside them."""

import torch
from torch import nn
from torchvision import models
from torchvision.models.resnet import Bottleneck

# Each block shifts 1 / FOLD of the channels by a frame each way, in a SEGMENT.
TSM, SEGMENT, FOLD = "tsm_resnet50", 8, 8


def temporal_shift(x: torch.Tensor) -> torch.Tensor:
    """Move an eighth of the channels one frame back in time and an eighth one frame ahead.

    Args:
        x: (segments * 8, C, H, W), the frames of each segment in turn.

    Returns:
        The same shape: channels [0, C // 8) of frame t are those of t + 1, the next C // 8 those
        of t - 1, zeros at a segment's ends; the rest stay.

    Reference:
        Lin, Gan, Han: TSM, ICCV 2019, bi-directional residual shift; mit-han-lab
        temporal-shift-module, ops/temporal_shift.py, n_div = 8.
    """
    part = x.shape[1] // FOLD
    frames = x.unflatten(0, (-1, SEGMENT))  # type: ignore[no-untyped-call]
    back, ahead, rest = frames[:, :, :part], frames[:, :, part : 2 * part], frames[:, :, 2 * part :]
    nothing = torch.zeros_like(back[:, :1])
    # Not in place: torch.fx traces it.
    back = torch.cat([back[:, 1:], nothing], dim=1)
    ahead = torch.cat([nothing, ahead[:, :-1]], dim=1)
    return torch.cat([back, ahead, rest], dim=2).flatten(0, 1)


class Shifted(nn.Module):
    """A convolution that first shifts its input in time."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve the shifted frames, (segments * 8, C, H, W)."""
        out: torch.Tensor = self.net(temporal_shift(x))
        return out


def tsm_resnet50() -> nn.Module:
    """ResNet-50 with the shift in front of each block's first convolution."""
    model: nn.Module = models.resnet50(weights=None, zero_init_residual=True)
    for block in [module for module in model.modules() if isinstance(module, Bottleneck)]:
        block.conv1 = Shifted(block.conv1)
    return model
