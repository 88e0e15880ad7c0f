"""TSM-ResNet-50: a ResNet whose blocks look one frame back and one frame ahead."""

from collections.abc import Mapping

import torch
from torch import nn
from torchvision.models import resnet50
from torchvision.models.resnet import Bottleneck

SEGMENT = 8
FOLD = 8


def temporal_shift(x: torch.Tensor, segment: int = SEGMENT, fold: int = FOLD) -> torch.Tensor:
    """Move an eighth of the channels one frame back in time and an eighth one frame ahead.

    Args:
        x: (segments * segment, C, H, W), the frames of each segment one after the other.
        segment: Frames that see each other.
        fold: C // fold channels move each way; zeros come in at a segment's ends.

    Returns:
        The same shape: channels [0, C // fold) of frame t are those of t + 1, the next
        C // fold those of t - 1, the rest stay.

    Reference:
        Lin, Gan, Han: TSM, ICCV 2019, bi-directional residual shift; mit-han-lab
        temporal-shift-module, ops/temporal_shift.py, n_div = 8.
    """
    part = x.shape[1] // fold
    frames = x.unflatten(0, (-1, segment))  # type: ignore[no-untyped-call]
    back, ahead, rest = frames[:, :, :part], frames[:, :, part : 2 * part], frames[:, :, 2 * part :]
    nothing = torch.zeros_like(back[:, :1])
    # Put together rather than written in place, so that torch.fx can follow it.
    back = torch.cat([back[:, 1:], nothing], dim=1)
    ahead = torch.cat([nothing, ahead[:, :-1]], dim=1)
    return torch.cat([back, ahead, rest], dim=2).flatten(0, 1)


class Shifted(nn.Module):
    """A convolution that first shifts its input in time."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(segments * 8, C, H, W) to what the convolution makes of the shifted frames."""
        out: torch.Tensor = self.net(temporal_shift(x))
        return out


def tsm_resnet50() -> nn.Module:
    """ResNet-50 with the shift in front of each block's first convolution."""
    model: nn.Module = resnet50(weights=None, zero_init_residual=True)
    for block in [module for module in model.modules() if isinstance(module, Bottleneck)]:
        block.conv1 = Shifted(block.conv1)
    return model


def published_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename an official checkpoint's tensors to this model's; its classifier is left out.

    The official files say `module.base_model.layer1.0.conv1.net.weight` (with `module.` from
    DataParallel) and keep their classifier as `new_fc`.
    """
    names = {name.removeprefix("module.").removeprefix("base_model."): name for name in tensors}
    return {
        name: tensors[original] for name, original in names.items() if not name.startswith("new_fc")
    }
