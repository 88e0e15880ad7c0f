"""MEID's experts, equation by equation, each against a direct computation with loops."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from meid.experts import (
    FirstExpert,
    FrameAttention,
    FrameEmbedding,
    SecondExpert,
    complementary_weights,
    first_expert_network,
    motion_features,
)
from meid_bench.methods.layers import Aggregator

B, T, D, C = 3, 5, 4, 6


def frames(seed: int = 0) -> Tensor:
    return torch.randn(B, T, D, generator=torch.Generator().manual_seed(seed))


class MeanLinear(Aggregator):
    """An aggregator that is eq. 4's Linear on the mean frame."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.output = nn.Linear(width_in, width_out)

    def embed(self, x: Tensor) -> Tensor:
        return x.mean(1)


@pytest.fixture(autouse=True)
def weights() -> None:
    torch.manual_seed(0)


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """W x + b of one vector, written out."""
    return torch.stack([row @ x for row in layer.weight]) + layer.bias


def test_equation_2_normalisation_linear_relu() -> None:
    embedding = FrameEmbedding(D, "layer")
    embedding.norm.weight.data.uniform_()
    embedding.norm.bias.data.uniform_()
    x = frames()
    expected = torch.zeros(B, T, D)
    for b in range(B):
        for t in range(T):
            v = x[b, t]
            v = (v - v.mean()) / (((v - v.mean()) ** 2).mean() + 1e-5).sqrt()
            v = v * embedding.norm.weight + embedding.norm.bias
            expected[b, t] = linear(embedding.linear, v).clamp_min(0)
    torch.testing.assert_close(embedding(x), expected)


def test_equation_2_with_batch_normalisation_or_none() -> None:
    x = frames()
    batch = FrameEmbedding(D, "batch")
    flat = x.flatten(0, 1)
    normed = (flat - flat.mean(0)) / (flat.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(batch(x), torch.relu(batch.linear(normed)).view(B, T, D))
    bare = FrameEmbedding(D, "none")
    torch.testing.assert_close(bare(x), torch.relu(bare.linear(x)))


@pytest.mark.parametrize("kind", ["scaled_softmax", "softmax", "sigmoid"])
def test_equation_3_two_linear_layers_and_a_normalisation(kind: str) -> None:
    attention = FrameAttention(D, 7, kind)  # type: ignore[arg-type]
    x = frames()
    scores = torch.zeros(B, T)
    for b in range(B):
        for t in range(T):
            hidden = linear(attention.hidden, x[b, t]).clamp_min(0)
            scores[b, t] = linear(attention.score, hidden)[0]
    exponent = scores.exp()
    expected = {
        "softmax": exponent / exponent.sum(1, keepdim=True),
        "scaled_softmax": T * exponent / exponent.sum(1, keepdim=True),
        "sigmoid": 1 / (1 + (-scores).exp()),
    }[kind]
    torch.testing.assert_close(attention(x), expected)


def test_the_scaled_softmax_has_mean_1_and_no_attention_is_1() -> None:
    scaled = FrameAttention(D, 7, "scaled_softmax")(frames())
    torch.testing.assert_close(scaled.mean(1), torch.ones(B))
    none = FrameAttention(D, 7, "none")
    assert torch.equal(none(frames()), torch.ones(B, T))
    assert not list(none.parameters())


@pytest.mark.parametrize("on", ["embedding", "features"])
def test_equation_4_attention_weighs_frames_before_the_last_linear(on: str) -> None:
    expert = FirstExpert(D, C, MeanLinear, attention_width=7, attention_on=on)  # type: ignore[arg-type]
    x = frames()
    logits, weights = expert(x)
    assert torch.equal(weights, expert.attention(x))
    total = torch.zeros(B, D)
    for t in range(T):
        if on == "embedding":
            total += expert.embedding(x[:, t : t + 1])[:, 0] * weights[:, t : t + 1]
        else:
            total += expert.embedding(x[:, t : t + 1] * weights[:, t, None, None])[:, 0]
    torch.testing.assert_close(logits, expert.aggregator.output(total / T))


def test_equation_8_by_hand() -> None:
    attention = torch.tensor([[0.0, 0.5, 1.5, 4.5]])
    torch.testing.assert_close(
        complementary_weights(attention, 0.5), torch.tensor([[2.0, 1.0, 0.5, 0.2]])
    )


def test_equation_8_turns_the_order_of_frames_around() -> None:
    attention = FrameAttention(D, 7, "scaled_softmax")(frames())
    weights = complementary_weights(attention, 0.5)
    assert torch.equal(attention.argsort(1), weights.argsort(1, descending=True))
    assert weights.max() <= 1 / 0.5


@pytest.mark.parametrize("selection", ["complementary", "attention", "none"])
def test_equation_9_and_what_stands_in_its_place(selection: str) -> None:
    expert = SecondExpert(D, C, MeanLinear, selection=selection, motion=False)  # type: ignore[arg-type]
    x, attention = frames(), torch.rand(B, T)
    weights = {"complementary": 1 / (attention + 0.5), "attention": attention}.get(
        selection, torch.ones(B, T)
    )
    chosen = torch.stack(
        [expert.embedding(x[:, t : t + 1])[:, 0] * weights[:, t, None] for t in range(T)], dim=1
    )
    expected = expert.aggregator(expert.fuse(chosen))
    torch.testing.assert_close(expert(x, attention), expected)


def test_equation_10_differences_then_the_mean() -> None:
    x = frames()
    motion = motion_features(x)
    assert motion.shape == x.shape
    for b in range(B):
        for t in range(T - 1):
            torch.testing.assert_close(motion[b, t], x[b, t + 1] - x[b, t])
        torch.testing.assert_close(motion[b, T - 1], sum(x[b]) / T)


def test_equation_10_of_a_still_video_is_its_frame_alone() -> None:
    still = torch.ones(1, T, D)
    motion = motion_features(still)
    assert motion[:, :-1].abs().sum() == 0 and torch.equal(motion[:, -1], torch.ones(1, D))
    assert torch.equal(motion_features(still[:, :1]), still[:, :1])


def test_equations_11_and_12_concatenate_along_features_and_project() -> None:
    expert = SecondExpert(D, C, MeanLinear, beta=0.3)
    x, attention = frames(), torch.rand(B, T)
    motion = motion_features(x)
    assert expert.motion_embedding is not None
    fused = torch.zeros(B, T, D)
    for b in range(B):
        for t in range(T):
            chosen = expert.embedding(x[b, t].view(1, 1, D)).flatten() / (attention[b, t] + 0.3)
            moved = expert.motion_embedding(motion[b, t].view(1, 1, D)).flatten()
            fused[b, t] = linear(expert.fuse, torch.cat([chosen, moved]))
    expected = torch.stack([linear(expert.aggregator.output, fused[b].mean(0)) for b in range(B)])
    torch.testing.assert_close(expert(x, attention), expected)


def test_the_second_experts_embeddings_are_its_own() -> None:
    expert = SecondExpert(D, C, MeanLinear)
    assert expert.motion_embedding is not None
    assert expert.embedding.linear.weight is not expert.motion_embedding.linear.weight
    assert not torch.equal(expert.embedding.linear.weight, expert.motion_embedding.linear.weight)


def test_network_e1_is_the_first_experts_logits() -> None:
    torch.manual_seed(5)
    network = first_expert_network(MeanLinear)(D, C)
    torch.manual_seed(5)
    expert = FirstExpert(D, C, MeanLinear)
    x = frames()
    assert torch.equal(network(x), expert(x)[0])
    assert np.prod(network(x).shape) == B * C


@pytest.mark.parametrize("kind", ["scaled_softmax", "softmax", "sigmoid", "none"])
def test_attention_in_bfloat16_is_computed_in_float32(kind: str) -> None:
    expert = FirstExpert(D, C, MeanLinear, attention=kind).bfloat16()  # type: ignore[arg-type]
    logits, weights = expert(frames().bfloat16())
    assert weights.dtype == torch.float32
    assert logits.dtype == torch.bfloat16 and logits.isfinite().all()
