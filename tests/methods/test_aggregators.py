"""Aggregators: no order of frames, the documented number of parameters, other codes' numbers."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meid_bench.errors import SettingError
from meid_bench.methods.aggregators import (
    AGGREGATORS,
    NetVLAD,
    NetVLADConfig,
    Nonlinear,
    NonlinearConfig,
    aggregator_maker,
)
from meid_bench.methods.layers import Aggregator
from meid_bench.methods.nextvlad import NeXtVLAD, NeXtVLADConfig
from meid_bench.methods.settings import changed

T, D, O = 9, 16, 5  # noqa: E741
SMALL = {"netvlad": {"clusters": 4, "hidden": 12}, "nextvlad": {"clusters": 4, "hidden": 24}}


def make(name: str, width_in: int = D, width_out: int = O, **settings: Any) -> Aggregator:
    torch.manual_seed(0)
    config = changed(AGGREGATORS[name].Config(), SMALL.get(name, {}) | settings)
    return aggregator_maker(name, config, T)(width_in, width_out)


def frames(videos: int = 3, count: int = 9) -> Tensor:
    return torch.randn(videos, count, D, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_the_order_of_frames_does_not_matter(name: str) -> None:
    module, x = make(name), frames()
    for _ in range(3):
        module(x)  # running statistics that are not the initial ones
    module.eval()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(module(x), module(x[:, order]), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(module(x), module(x.flip(0)))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_any_number_of_frames_and_one_video_will_do(name: str) -> None:
    module = make(name).eval()
    for count in (1, 2, 50):
        assert module(frames(1, count)).shape == (1, O)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("d", "o"), [(16, 5), (24, 7)])
def test_parameter_counts_are_those_of_the_docstrings(d: int, o: int) -> None:
    assert parameters(make("nonlinear", d, o)) == d * d + d + d * o + o
    k, h = 4, 12
    expected = 2 * d + d * k + 2 * k + k * d + k * d * h + 2 * h + h * o + o
    assert parameters(make("netvlad", d, o)) == expected
    g, k, h, s = 8, 4, 24, 24 // 8
    e = 2 * d
    w = e // g
    expected = d * e + e + e * g + g + e * g * k + 2 * g * k + w * k + 2 * w * k
    expected += w * k * h + 2 * h + 2 * h * s + 2 * s + h * o + o
    assert parameters(make("nextvlad", d, o)) == expected


def test_nextvlad_at_real_width_has_about_45_million_parameters() -> None:
    with torch.device("meta"):
        module = aggregator_maker("nextvlad", NeXtVLADConfig(), T)(2048, 157)
        large = NeXtVLAD(2048, 157, NeXtVLADConfig(clusters=128, hidden=2048))
    assert round(parameters(module) / 1e6) == 45
    assert round(parameters(large) / 1e6) == 148


def test_nonlinear_is_the_mean_of_frame_logits() -> None:
    """The average comes before the last layer, and changes nothing."""
    module = make("nonlinear").eval()
    assert isinstance(module, Nonlinear)
    x = frames()
    expected = module.output(F.relu(module.hidden(x))).mean(1)
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-6)


def test_netvlad_frame_by_frame() -> None:
    module = make("netvlad").eval()
    assert isinstance(module, NetVLAD)
    x = module.input_norm(frames().flatten(0, 1)).view(3, 9, D)
    rows = []
    for video in x:
        assignment = torch.softmax(module.assign_norm(module.assign(video)), dim=1)
        centres = []
        for k in range(4):
            total = sum(assignment[t, k] * video[t] for t in range(9))
            centres.append(F.normalize(total * torch.sigmoid(module.gate[k]), dim=0))
        rows.append(F.normalize(torch.cat(centres), dim=0))
    hidden = module.hidden_norm(module.hidden(torch.stack(rows)))
    expected = module.output(hidden.clamp(0, 6))
    torch.testing.assert_close(module(frames()), expected, rtol=1e-4, atol=1e-5)


def test_nextvlad_frame_by_frame() -> None:
    """Lin et al., eq. 2 to 4, with loops over frames, groups and clusters."""
    module = make("nextvlad").eval()
    assert isinstance(module, NeXtVLAD)
    wide = module.expand(frames())
    g, k, w = 8, 4, 2 * D // 8
    rows = []
    for video in wide:
        vlad = torch.zeros(k, w)
        for frame in video:
            attention = torch.sigmoid(module.attend(frame))
            scores = module.assign_norm(module.assign(frame).unsqueeze(0)).view(g, k)
            for group in range(g):
                assignment = torch.softmax(scores[group], dim=0) * attention[group]
                part = frame[group * w : (group + 1) * w]
                vlad += assignment.unsqueeze(1) * (part - module.centres)
        rows.append(F.normalize(vlad, dim=1).flatten())
    hidden = module.hidden_norm(module.hidden(module.vlad_norm(torch.stack(rows))))
    gate = torch.sigmoid(module.excite(F.relu(module.squeeze_norm(module.squeeze(hidden)))))
    expected = module.output(hidden * gate)
    torch.testing.assert_close(module(frames()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    module = make(name)
    module(frames(8)).square().sum().backward()
    for key, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


@pytest.mark.parametrize(
    ("config", "settings", "sentence"),
    [
        (NonlinearConfig, {"dropout": 1.0}, "dropout is 1.0"),
        (NetVLADConfig, {"clusters": 0}, "clusters is 0; it must be at least 1"),
        (NeXtVLADConfig, {"hidden": 4}, "reduction is 8; it must be at most hidden"),
        (NeXtVLADConfig, {"groups": 0}, "groups is 0"),
    ],
)
def test_settings_out_of_range(config: Any, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        config(**settings)


def test_groups_must_divide_the_width() -> None:
    with pytest.raises(SettingError, match="groups is 7; it must be a divisor of the width 32"):
        make("nextvlad", groups=7)


def test_an_unknown_aggregator_is_refused() -> None:
    with pytest.raises(SettingError, match="did you mean 'nextvlad'"):
        aggregator_maker("nextvald", NeXtVLADConfig(), T)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_the_last_layer_is_linear_and_reads_what_embed_gives(name: str) -> None:
    module, x = make(name).eval(), frames()
    assert isinstance(module.output, nn.Linear)
    torch.testing.assert_close(F.linear(module.embed(x), *module.output.parameters()), module(x))
