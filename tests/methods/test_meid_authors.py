"""MEID as its authors' code has it: parity with their modules, and what is ours around them."""

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from meid.authors import MEIDAuthors, MEIDAuthorsConfig, mean_probability
from meid.authors_network import AuthorsNecks, authors_motion
from meid_bench.benchmark.benchmark import benchmark_dir, save_benchmark
from meid_bench.errors import MethodError, SettingError
from meid_bench.methods.aggregators import NonlinearConfig, aggregator_maker
from meid_bench.methods.contract import step_losses
from meid_bench.methods.layers import AggregatorConfig
from meid_bench.methods.losses import unmasked_classes
from meid_bench.methods.method import Batch, Stage, Task
from meid_bench.methods.nextvlad import MEIDNeXtVLAD, NeXtVLADConfig
from meid_bench.methods.registry import find_method
from meid_bench.methods.settings import changed
from meid_bench.training.protocol import resolve
from meid_bench.training.request import Request, plan_run
from meid_bench.training.run import run
from tests.small_methods import in_stage, small_batch, toy_method
from tests.toy import CLASSES, FRAMES, toy_benchmark, write_toy

# Numbers of the authors' own modules (github.com/abcdvzz/MEID at be39ade: models/trans.py,
# net_module.py, ops/losses.py), D = 8, C = 6, B = 4, in double precision. They were patched so far
# that they run: T in BGLayer and `blend`, D in the 8D layers, timm's names replaced by torch's,
# batches of `Trans_Pos` given motion. "nextvlad" puts NeXtVLAD and its head where mean and `head`
# are, as the compiled Twins_Pos_NextVLAD does, with 4 clusters and 16 hidden. "slip" has the motion
# that data/charadesego/diff.py's loop makes. Weights and inputs are `formula` and `inputs`, below.
GOLDEN = json.loads(Path(__file__).with_name("meid_authors_golden.json").read_text())
VIDEOS, WIDTH, LABELS = 4, 8, 6


def formula(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A parameter's or buffer's values, from its name alone."""
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape)
    if name.endswith("running_var"):
        return 0.5 + np.abs(values)
    return 1 + 0.2 * values if "norm" in name and name.endswith("weight") else 0.3 * values


def fill(module: nn.Module) -> None:
    for name, value in module.state_dict().items():
        value.copy_(torch.from_numpy(formula(name, tuple(value.shape))))


def inputs(frames: int) -> Batch:
    random = np.random.default_rng(frames)
    x = random.normal(size=(VIDEOS, frames, WIDTH))
    labels = (random.random((VIDEOS, LABELS)) < 0.4).astype(np.float32)
    labels[:, 0] = 1
    features = torch.from_numpy(x.astype(np.float32))
    picked = torch.zeros(VIDEOS, dtype=torch.long)
    return Batch(features, torch.from_numpy(labels), picked, torch.Generator())


def golden_method(frames: int, aggregator: str, **settings: Any) -> MEIDAuthors:
    task = Task(WIDTH, (1,) * LABELS, {"head": (0,), "medium": (), "tail": (1,)}, frames, 2)
    config: AggregatorConfig = NonlinearConfig(hidden_layer=False)
    if aggregator == "nextvlad":
        config = NeXtVLADConfig(form="meid", input_norm=False, clusters=4, hidden=16)
    name = "nonlinear" if aggregator == "mean" else aggregator
    values = {"redraw": False, "ratio": 0.0, "lambda1": 0.0, "lambda2": 0.0} | settings
    method = MEIDAuthors(
        task, changed(MEIDAuthorsConfig(), values), aggregator_maker(name, config, frames)
    )
    fill(method)
    return method


def close(found: Tensor, expected: object) -> None:
    torch.testing.assert_close(
        found.detach(), torch.tensor(expected, dtype=torch.float32), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("motion", ["differences", "slip"])
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("aggregator", ["mean", "nextvlad"])
@pytest.mark.parametrize("frames", [150, 200])
def test_parity_with_the_authors_modules(
    frames: int, aggregator: str, mode: str, motion: str
) -> None:
    """Both experts, A, R, prediction and the loss of both stages, at their frame numbers."""
    expected = GOLDEN[f"{aggregator} {frames} {mode} {motion}"]
    some = inputs(frames)
    for number in (0, 1):
        method = golden_method(frames, aggregator, slips=motion == "slip")
        stage = method.stages()[number]
        method.begin_stage(stage)
        method.train(mode == "train")
        state = {name: value.clone() for name, value in method.state_dict().items()}
        loss = method.loss(some, stage, 0)
        method.load_state_dict(state)  # train mode moves the running statistics
        with torch.no_grad():
            parts = method.explain(some.features)
            method.load_state_dict(state)
            logits = method(some.features)
        close(loss, expected[f"loss{number + 1}"])
        close(parts["expert1"], expected["first"])
        if number == 0:
            close(logits, expected["first"])
            continue
        close(parts["expert2"], expected["second"])
        close(logits.sigmoid(), expected["probability"])
        if "A" in expected:
            close(parts["A"][0], expected["A"])
            close(parts["R"][0], expected["R"])


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("frames", [150, 200])
def test_parity_of_the_baselines_nextvlad(frames: int, mode: str) -> None:
    config = NeXtVLADConfig(form="meid", clusters=4, hidden=16)
    module = MEIDNeXtVLAD(WIDTH, LABELS, config, frames)
    fill(module)
    module.train(mode == "train")
    close(module(inputs(frames).features), GOLDEN[f"aggregator {frames} {mode}"]["logits"])


def build(aggregator: str = "nonlinear", **settings: Any) -> MEIDAuthors:
    method = toy_method("meid-authors", aggregator, settings, dropout=0.0)
    assert isinstance(method, MEIDAuthors)
    return method


def test_the_stages_are_those_of_the_scripts() -> None:
    first = Stage("first expert", 100, 1e-4, (30, 60), "uniform")
    second = Stage("second expert", 100, 1e-4, (30, 60), "class_balanced")
    assert list(build().stages()) == [first, second]
    assert MEIDAuthors.presets["default"]["batch"] == 256


def test_weights_begin_as_theirs() -> None:
    """Linear layers normal with deviation .02 and no bias, necks by Xavier's rule."""
    method = build()
    assert method.second is not None
    weight = method.second.block.widen.weight  # type: ignore[union-attr]
    assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert weight.abs().max() < 2
    for name, parameter in method.named_parameters():
        if name.endswith("bias") and "neighbours" not in name:
            assert not parameter.any(), name
    bound = (6 / (2 * CLASSES)) ** 0.5
    assert method.first_necks.head.weight.abs().max() <= bound  # type: ignore[union-attr]


def test_motion_is_differences_then_the_sum() -> None:
    x = torch.randn(2, 5, 3)
    for t in range(4):
        assert torch.equal(authors_motion(x, "sum")[:, t], x[:, t + 1] - x[:, t])
    torch.testing.assert_close(authors_motion(x, "sum")[:, 4], x.sum(1))
    torch.testing.assert_close(authors_motion(x, "mean")[:, 4], x.mean(1))


def test_the_prediction_is_the_mean_of_two_sigmoids() -> None:
    first, second = torch.randn(3, 4) * 3, torch.randn(3, 4) * 3
    found = mean_probability(first, second)
    torch.testing.assert_close(found.sigmoid(), (first.sigmoid() + second.sigmoid()) / 2)
    far = mean_probability(torch.tensor([-90.0, 90.0]), torch.tensor([-80.0, 95.0]))
    torch.testing.assert_close(far, torch.tensor([-80.6931, 90.6864]))  # where sigmoid is 0 or 1


def test_what_is_left_of_the_mask_is_a_factor() -> None:
    """Whichever class was drawn: all classes but the video's other positives."""
    some = small_batch(picked=True)
    assert some.picked is not None
    kept = CLASSES - (some.labels.sum(1) - 1)
    assert unmasked_classes(some.labels).item() == pytest.approx(kept.mean().item())


@pytest.mark.parametrize("classified", ["second", "sum"])
def test_the_second_loss_is_on_the_second_expert_alone_or_on_the_sum(classified: str) -> None:
    method, some = build(classified=classified, redraw=False, lambda2=0.0), small_batch(picked=True)
    stage = in_stage(method, 1)
    method.eval()
    parts = method.explain(some.features)
    logits = parts["expert2"] + (parts["expert1"] if classified == "sum" else 0)
    bce = nn.functional.binary_cross_entropy_with_logits(logits, some.labels, reduction="none")
    expected = ((1 - torch.exp(-bce)) * bce).mean() * unmasked_classes(some.labels)
    assert method.loss(some, stage, 0).item() == pytest.approx(expected.item(), rel=1e-5)
    both = parts["expert1"].sigmoid() + parts["expert2"].sigmoid()
    expected = (parts["expert1"] + parts["expert2"]).sigmoid() if classified == "sum" else both / 2
    torch.testing.assert_close(method(some.features).sigmoid(), expected)


def stacked_parts(method: MEIDAuthors, some: Batch) -> tuple[Tensor, Tensor, Tensor]:
    some.generator.manual_seed(5)
    motion = authors_motion(some.features, "sum")
    return method._stacked(some.features, motion, some)


def test_half_of_a_batch_is_stacked_from_the_second_epoch_on_in_both_stages() -> None:
    method, some = build(redraw=False, lambda1=0.0, lambda2=0.0), small_batch()
    fill(method)
    method.end_epoch(method.stages()[0], 0, torch.linspace(0.1, 0.9, CLASSES))
    frames, motion, labels = stacked_parts(method, some)
    assert not torch.equal(frames[:6], some.features[:6])
    assert torch.equal(frames[6:], some.features[6:]) and torch.equal(labels[6:], some.labels[6:])
    assert torch.equal(motion[6:], authors_motion(some.features, "sum")[6:])
    for number in (0, 1):
        stage = in_stage(method, number)
        method.eval()
        plain = method.loss(some, stage, 0).item()
        assert method.loss(some, stage, 1).item() != pytest.approx(plain, rel=1e-4)
        unstacked = build(redraw=False, lambda1=0.0, lambda2=0.0, ratio=0.0)
        unstacked.load_state_dict(method.state_dict())
        stage = in_stage(unstacked, number)
        unstacked.eval()
        assert unstacked.loss(some, stage, 1).item() == pytest.approx(plain, rel=1e-6)


def test_frames_and_motion_are_stacked_alike_unless_their_slip_is_asked_for() -> None:
    """A video's motion comes from the partner that its frames come from."""
    some = small_batch()
    some.features = torch.arange(12.0).view(12, 1, 1) * torch.ones(1, FRAMES, 16)
    for slips in (False, True):
        method = build(redraw=False, slips=slips)
        method.running_ap.fill_(0.5)
        some.generator.manual_seed(5)
        frames, motion, _ = method._stacked(some.features, some.features, some)
        assert torch.equal(frames, motion) is not slips


def test_frames_and_differences_are_drawn_each_for_itself_in_training() -> None:
    """With replacement: otherwise the loss would not depend on the batch's random numbers."""
    some = small_batch()
    for redraw in (True, False):
        method = build(redraw=redraw)
        stage = in_stage(method, 0)
        method.eval()
        losses = set()
        for seed in range(3):
            some.generator.manual_seed(seed)
            losses.add(method.loss(some, stage, 0).item())
        assert len(losses) == (3 if redraw else 1)


@pytest.mark.parametrize("aggregator", ["nonlinear", "nextvlad"])
def test_the_frozen_experts_statistics_move_only_where_their_slip_is_asked_for(
    aggregator: str,
) -> None:
    for slips in (False, True):
        method, some = build(aggregator, slips=slips), small_batch(picked=True)
        step_losses(method, in_stage(method, 0), some)
        stage = in_stage(method, 1)
        before = {name: value.clone() for name, value in method.first.state_dict().items()}
        step_losses(method, stage, some)
        after = method.first.state_dict()
        moved = {name for name, value in before.items() if not torch.equal(after[name], value)}
        assert bool(moved) is slips
        assert all("running" in name or "num_batches" in name for name in moved)


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "frame"},
        {"attention": "none"},
        {"fusion": "features"},
        {"classified": "sum"},
        {"ratio": 0.0},
        {"static": "mean"},
        {"slips": True},
        {"lambda1": 0.0, "lambda2": 0.0},
    ],
)
def test_every_single_difference_is_a_setting_that_trains(settings: dict[str, Any]) -> None:
    method, some = build(**settings), small_batch(picked=True)
    for number in (0, 1):
        stage = in_stage(method, number)
        losses = step_losses(method, stage, some)
        assert losses[-1] < losses[0]
        assert all(np.isfinite(v) for v in method.diagnostics(some, stage).values())


def test_necks_give_embeddings_of_length_1_of_their_own_groups_alone() -> None:
    necks = AuthorsNecks(CLASSES, (0, 1), (4, 5))
    logits = torch.randn(7, CLASSES)
    for embedding in necks(logits):
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(7))
    changed_medium = logits.clone()
    changed_medium[:, 2:4] += 1
    assert torch.equal(necks(logits)[0], necks(changed_medium)[0])


@pytest.mark.parametrize("frames", [1, 2])
def test_too_few_frames_are_refused_with_what_to_do(frames: int) -> None:
    task = Task(WIDTH, (1,) * LABELS, {"head": (0,), "medium": (), "tail": (1,)}, frames, 2)
    make = aggregator_maker("nonlinear", NonlinearConfig(), frames)
    with pytest.raises(SettingError, match=f"at least 3 frames, and these videos have {frames}"):
        MEIDAuthors(task, MEIDAuthorsConfig(), make)


def test_another_number_of_frames_than_t_is_refused() -> None:
    method = build()
    with pytest.raises(MethodError, match="made for 8 frames a video and was shown 5"):
        method(small_batch().features[:, :5])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"ratio": 1.5}, "ratio is 1.5"), ({"warm_epoch": -1}, "warm_epoch is -1")],
)
def test_settings_out_of_range(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        changed(MEIDAuthorsConfig(), settings)


@pytest.fixture
def toy_root(tmp_path: Path) -> Path:
    write_toy(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("method", "preset"), [("meid-authors", None), ("meid", "authors")])
def test_it_runs_under_its_name_and_as_a_preset_of_meid(
    toy_root: Path, method: str, preset: str | None
) -> None:
    short = {"epochs": 2, "milestones": (1,), "batch": 32}
    request = Request(method, "toy", "nonlinear", preset=preset, settings=short)
    record = run(plan_run(request, toy_root), torch.device("cpu"))
    assert (record.method, record.preset) == ("meid-authors", None)
    assert [stage.name for stage in record.stages] == ["first expert", "second expert"]
    assert record.settings["aggregator.hidden_layer"] is False


def test_on_videolt_rate_and_batch_are_those_of_its_scripts(toy_root: Path) -> None:
    videolt = replace(toy_benchmark(), published="VideoLT")
    save_benchmark(videolt, benchmark_dir(toy_root, "toy"))
    found = plan_run(Request("meid", "toy", "nonlinear", preset="authors"), toy_root)
    settings = [found.settings[name] for name in ("lr", "lr2")]
    assert (found.preset, settings) == ("videolt", [1e-3, 1e-3])
    resolved = resolve(find_method(found.model.method), "nonlinear", found.preset, {})
    assert resolved.runner.batch == 1024  # the plan's is at most all training videos


def test_a_part_of_the_frames_is_refused(toy_root: Path) -> None:
    part = Request("meid-authors", "toy", "nonlinear", settings={"training_frames": FRAMES - 1})
    with pytest.raises(SettingError, match="training_frames"):
        plan_run(part, toy_root)
