"""MEID's distillation loss: two necks, and the distance between the variances behind them."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NeckKind = Literal["full", "group"]
VarianceOver = Literal["batch", "classes"]
Distance = Literal["mean", "norm", "unit"]


class Necks(nn.Module):
    """An embedding of the head classes' logits and one of the tail classes', each (B, C).

    "full": logits of other groups set to zero, then a linear layer from C to C.
    "group": a linear layer from the group's own logits to C.
    Medium classes take no part.

    Reference: MEID (AAAI 2023), eq. 5 and 6.
    """

    def __init__(
        self, classes: int, head: Sequence[int], tail: Sequence[int], kind: NeckKind = "full"
    ) -> None:
        super().__init__()
        self.kind = kind
        self.head_index: Tensor
        self.tail_index: Tensor
        self.head_mask: Tensor
        self.tail_mask: Tensor
        for name, members in (("head", head), ("tail", tail)):
            self.register_buffer(f"{name}_index", torch.tensor(members, dtype=torch.long))
            mask = torch.zeros(classes)
            mask[list(members)] = 1
            self.register_buffer(f"{name}_mask", mask)
        self.head = nn.Linear(classes if kind == "full" else len(head), classes)
        self.tail = nn.Linear(classes if kind == "full" else len(tail), classes)

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, C) -> M_head and M_tail, (B, C) each."""
        if self.kind == "full":
            return self.head(logits * self.head_mask), self.tail(logits * self.tail_mask)
        return self.head(logits[:, self.head_index]), self.tail(logits[:, self.tail_index])


def distillation_loss(
    head: Tensor, tail: Tensor, over: VarianceOver = "batch", distance: Distance = "mean"
) -> Tensor:
    """Distance between the variances of two embeddings, a scalar.

    Args:
        head: M_head, (B, C).
        tail: M_tail, (B, C).
        over: "batch", a variance per dimension over videos; "classes", one per video.
        distance: "norm", of the difference as printed; "mean", that norm over the number of
            variances; "unit", the norm with every embedding scaled to length 1 first.

    Reference: MEID (AAAI 2023), eq. 7.

    Differs:
        The variance is biased, since that of a single video is then 0 and not NaN, and the norm
        has an epsilon under its root, whose slope at 0 is infinite. By default the norm is divided
        by the number of classes, as the mean of the classification loss is: otherwise its share of
        the gradient grows with the classes until nothing else is learnt.
    """
    head, tail = head.float(), tail.float()
    if distance == "unit":
        head, tail = F.normalize(head), F.normalize(tail)
    dim = 0 if over == "batch" else 1
    squares = (head.var(dim, correction=0) - tail.var(dim, correction=0)).square()
    norm = (squares.sum() + 1e-12).sqrt()
    return norm / len(squares) if distance == "mean" else norm
