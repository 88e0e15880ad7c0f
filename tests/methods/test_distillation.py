"""MEID's distillation, equations 5 to 7, against numpy; and where its formulas have no value."""

import numpy as np
import pytest
import torch

from meid.distillation import Necks, distillation_loss

B, C, HEAD, TAIL = 5, 6, (0, 2), (4, 5)


def logits(videos: int = B) -> torch.Tensor:
    return torch.randn(videos, C, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", ["full", "group"])
def test_equations_5_and_6(kind: str) -> None:
    torch.manual_seed(0)
    necks = Necks(C, HEAD, TAIL, kind)  # type: ignore[arg-type]
    y = logits()
    found = necks(y)
    for embedding, layer, members in zip(
        found, (necks.head, necks.tail), (HEAD, TAIL), strict=True
    ):
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        if kind == "full":
            masked = np.where(np.isin(np.arange(C), members), y.numpy(), 0)
            expected = masked @ weight.T + bias
        else:
            expected = y.numpy()[:, list(members)] @ weight.T + bias
        np.testing.assert_allclose(embedding.detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["full", "group"])
def test_medium_classes_take_no_part(kind: str) -> None:
    necks = Necks(C, HEAD, TAIL, kind)  # type: ignore[arg-type]
    y = logits().requires_grad_()
    head, tail = necks(y)
    distillation_loss(head, tail).backward()
    assert y.grad is not None
    assert y.grad[:, [1, 3]].abs().sum() == 0
    assert (y.grad[:, [0, 2, 4, 5]].abs().sum(0) > 0).all()


@pytest.mark.parametrize(("over", "axis"), [("batch", 0), ("classes", 1)])
def test_equation_7(over: str, axis: int) -> None:
    head, tail = logits(), logits().flip(0) * 2 + 1
    variances = [np.var(part.double().numpy(), axis=axis) for part in (head, tail)]
    expected = np.sqrt(((variances[0] - variances[1]) ** 2).sum())
    found = distillation_loss(head, tail, over, "norm")  # type: ignore[arg-type]
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found = distillation_loss(head, tail, over, "mean")  # type: ignore[arg-type]
    assert found.item() == pytest.approx(expected / len(variances[0]), rel=1e-5)
    units = [part / part.norm(dim=1, keepdim=True) for part in (head, tail)]
    found = distillation_loss(head, tail, over, "unit")  # type: ignore[arg-type]
    torch.testing.assert_close(found, distillation_loss(*units, over, "norm"))  # type: ignore[arg-type]


def test_equation_7_by_hand() -> None:
    head = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])  # variances 1 and 0
    tail = torch.tensor([[0.0, 2.0], [0.0, -2.0]])  # variances 0 and 4
    assert distillation_loss(head, tail).item() == pytest.approx(17**0.5 / 2)
    for moved in (tail, tail + 5):  # no mean counts
        printed = distillation_loss(head, moved, distance="norm").item()
        assert printed == pytest.approx(17**0.5)


@pytest.mark.parametrize("over", ["batch", "classes"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("videos", [1, 2])
def test_no_nan_at_one_video_nor_at_distance_zero(
    over: str, dtype: torch.dtype, videos: int
) -> None:
    head = logits(videos).to(dtype).requires_grad_()
    tail = logits(videos).to(dtype).requires_grad_()  # the same values: distance zero
    distance = distillation_loss(head, tail, over)  # type: ignore[arg-type]
    distance.backward()
    assert distance.item() == pytest.approx(0, abs=1e-5)
    assert head.grad is not None and tail.grad is not None
    assert head.grad.isfinite().all() and tail.grad.isfinite().all()


@pytest.mark.parametrize("distance", ["mean", "norm"])
def test_the_share_of_the_gradient_does_not_grow_with_the_number_of_classes(distance: str) -> None:
    """As printed it grows as the root of C against a classification that is a mean over C."""
    shares = []
    for classes in (16, 1024):
        torch.manual_seed(0)
        third = classes // 3
        necks = Necks(classes, range(third), range(2 * third, classes))
        logits = torch.randn(64, classes, requires_grad=True)
        labels = (torch.rand(64, classes) < 0.1).float()
        parts = (
            distillation_loss(*necks(logits), "batch", distance),  # type: ignore[arg-type]
            torch.nn.functional.binary_cross_entropy_with_logits(logits, labels),
        )
        of_distillation, other = (torch.autograd.grad(p, logits)[0].norm().item() for p in parts)
        shares.append(of_distillation / other)
    growth = shares[1] / shares[0]
    assert growth < 1 if distance == "mean" else growth > 4


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_a_group_without_classes_has_an_embedding_too() -> None:
    for kind in ("full", "group"):
        necks = Necks(C, HEAD, (), kind)  # type: ignore[arg-type]
        head, tail = necks(logits())
        assert distillation_loss(head, tail).isfinite()
