"""Contract: what the runner relies on in a method, checked on a toy task in seconds."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from meid_bench.codec import decode, encode
from meid_bench.errors import MeidBenchError, MethodError
from meid_bench.methods.aggregators import aggregator_maker, find_aggregator
from meid_bench.methods.method import Batch, Method, MethodConfig, Stage
from meid_bench.methods.presets import METHOD_KEY, preset_settings
from meid_bench.methods.registry import find_method
from meid_bench.methods.samplers import EpochSampler
from meid_bench.methods.settings import changed
from meid_bench.methods.toy_task import CLASSES, TASK, toy_features, toy_labels
from meid_bench.methods.trainable import select_trainable, training_mode

VIDEOS = 48
STEPS = 30
RATE = 1e-3
AP = torch.linspace(0, 1, CLASSES)  # what an epoch ends with


@dataclass(frozen=True)
class Clause:
    """One clause of the contract and, where it does not hold, why: a sentence."""

    name: str
    problem: str | None


def check_method(kind: type[Method], aggregator: str = "nextvlad") -> list[Clause]:
    """Try a method against every clause, on the CPU.

    Args:
        kind: The method's class.
        aggregator: Name of the aggregator that it gets.

    Raises:
        SettingError: There is no such aggregator.
    """
    find_aggregator(aggregator)
    subject, found = Subject(kind, aggregator), []
    for name, clause in CLAUSES.items():
        problem = None
        try:
            clause(subject)
        except MeidBenchError as error:
            problem = str(error)
        except Exception as error:  # a mistake of the method's author
            problem = f"{type(error).__name__}: {error}"
        found.append(Clause(name, problem))
    return found


@dataclass(frozen=True)
class Subject:
    """A method on the toy task."""

    kind: type[Method]
    aggregator: str

    def build(self, method: MethodConfig | None = None, seed: int = 0) -> Method:
        """The method with fresh weights; with its defaults where no settings are given."""
        torch.manual_seed(seed)
        config = find_aggregator(self.aggregator).Config()
        if self.aggregator != "nonlinear":  # the sizes of real features would take minutes here
            config = changed(config, {"clusters": 4, "hidden": 16})
        make = aggregator_maker(self.aggregator, config, TASK.frames)
        return self.kind(TASK, self.kind.Config() if method is None else method, make)

    def stages(self) -> Iterator[tuple[Method, Stage, Batch]]:
        """Each stage with the method ready for it, in the order in which they are trained."""
        method = self.build()
        for number, stage in enumerate(method.stages()):
            method.begin_stage(stage)
            select_trainable(method, stage)
            training_mode(method)
            yield method, stage, toy_batch(stage, number)


def toy_batch(stage: Stage, number: int) -> Batch:
    """The toy's videos as the stage's sampler draws them."""
    labels = toy_labels(VIDEOS, seed=1)
    features = torch.from_numpy(toy_features(labels, seed=1)).float()
    draws = EpochSampler(labels, stage.sampler).draw(0, number, 0)
    picked = None if draws.picked is None else torch.from_numpy(draws.picked)
    rows = torch.from_numpy(labels[draws.index]).float()
    return Batch(features[torch.from_numpy(draws.index)], rows, picked, torch.Generator())


def step_losses(method: Method, stage: Stage, batch: Batch) -> list[float]:
    """Train `STEPS` steps on one batch; returns each step's loss."""
    optimiser = torch.optim.Adam(select_trainable(method, stage), lr=RATE)
    training_mode(method)
    batch.generator.manual_seed(0)
    torch.manual_seed(0)
    losses = []
    for _ in range(STEPS):
        loss = method.loss(batch, stage, 0)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    return losses


def require_contract(holds: bool, sentence: str) -> None:
    """Refuse a method that breaks a clause.

    Raises:
        MethodError: `holds` is false.
    """
    if not holds:
        raise MethodError(sentence)


def builds(subject: Subject) -> None:
    """It builds from its defaults and from every preset, and Config is a frozen dataclass."""
    config = subject.kind.Config
    parameters = getattr(config, "__dataclass_params__", None)
    require_contract(
        parameters is not None and parameters.frozen and issubclass(config, MethodConfig),
        f"{subject.kind.__name__}.Config must be a frozen dataclass that extends MethodConfig",
    )
    subject.build()
    for name, preset in subject.kind.presets.items():
        if METHOD_KEY in preset:
            find_method(preset[METHOD_KEY])
        else:
            subject.build(preset_settings(subject.kind, subject.aggregator, name).method)


def settings_survive_json(subject: Subject) -> None:
    """Settings are the same after a record was written and read."""
    config = subject.kind.Config()
    written = encode(config, "Config")
    require_contract(
        decode(type(config), written, "Config") == config,
        f"settings change when they are written as JSON and read: {written}",
    )


def gives_logits(subject: Subject) -> None:
    """Logits are finite, videos by classes, for one video too, in every stage."""
    for method, stage, batch in subject.stages():
        method.eval()
        for size in (len(batch), 1):
            with torch.no_grad():
                logits = method(batch.features[:size])
            require_contract(
                logits.shape == (size, CLASSES),
                f"logits have the shape {tuple(logits.shape)} in stage {stage.name!r}; "
                f"expected {(size, CLASSES)}, videos by classes",
            )
            require_contract(
                bool(logits.isfinite().all()),
                f"logits of {size} videos are not finite in stage {stage.name!r}",
            )


def gives_loss(subject: Subject) -> None:
    """The loss is a finite scalar at the first, second and last epoch of every stage."""
    for method, stage, batch in subject.stages():
        for epoch in (0, 1, stage.epochs - 1):
            loss = method.loss(batch, stage, epoch)
            where = f"in stage {stage.name!r}, epoch {epoch}"
            require_contract(
                loss.ndim == 0, f"the loss {where} has the shape {tuple(loss.shape)}, not a scalar"
            )
            require_contract(bool(loss.isfinite()), f"the loss {where} is {loss.item()}")
            method.end_epoch(stage, epoch, AP)


def trains_what_it_says(subject: Subject) -> None:
    """Exactly the stage's trainable parameters get a gradient."""
    for method, stage, batch in subject.stages():
        method.loss(batch, stage, 0).backward()  # type: ignore[no-untyped-call]
        wanted = {id(parameter) for parameter in method.trainable(stage)}
        for name, parameter in method.named_parameters():
            has = parameter.grad is not None
            require_contract(
                has == (id(parameter) in wanted),
                f"{name} {'has a' if has else 'has no'} gradient in stage {stage.name!r}, "
                f"where trainable() {'leaves it out' if has else 'names it'}",
            )
            parameter.grad = None


def learns(subject: Subject) -> None:
    """30 steps lower the loss; frozen modules stay as they are, their statistics too."""
    for method, stage, batch in subject.stages():
        frozen = {
            f"{name}.{key}": value.clone()
            for name, module in method.named_modules()
            if (own := list(module.parameters())) and not any(p.requires_grad for p in own)
            for key, value in module.state_dict().items()
        }
        before = _quiet_loss(method, stage, batch)
        step_losses(method, stage, batch)
        after = _quiet_loss(method, stage, batch)
        require_contract(
            after < before,
            f"{STEPS} steps do not lower the loss in stage {stage.name!r}: "
            f"{before:.4g} before, {after:.4g} after",
        )
        for name, value in frozen.items():
            require_contract(
                torch.equal(method.state_dict()[name], value),
                f"{name} is frozen in stage {stage.name!r} and yet changed",
            )


@torch.no_grad()
def _quiet_loss(method: Method, stage: Stage, batch: Batch) -> float:
    method.eval()
    batch.generator.manual_seed(0)
    return method.loss(batch, stage, 0).item()


def repeats(subject: Subject) -> None:
    """The same seed gives the same losses: all randomness is torch's or the batch's."""
    runs = [[step_losses(*stage) for stage in subject.stages()] for _ in range(2)]
    require_contract(runs[0] == runs[1], "the same seed gives other losses on a second run")


def draws_from_its_batch(subject: Subject) -> None:
    """Another global seed changes no loss: what a loss draws, it draws from Batch.generator."""
    losses: dict[str, float] = {}
    for seed in (0, 1):
        for method, stage, batch in subject.stages():
            _seed_modules(method)
            for epoch in (0, 1, stage.epochs - 1):
                batch.generator.manual_seed(0)
                torch.manual_seed(seed)
                with torch.no_grad():
                    loss = method.loss(batch, stage, epoch).item()
                where = f"in stage {stage.name!r}, epoch {epoch}"
                require_contract(
                    losses.setdefault(where, loss) == loss,
                    f"the loss {where} follows torch's global seed; draw from batch.generator, or "
                    "by batch.uniform() and batch.shuffled()",
                )
                method.end_epoch(stage, epoch, AP)


def _seed_modules(method: Method) -> None:
    """Let each module's forward draw from one seed: a dropout's numbers are the network's own."""
    states: list[Tensor] = []

    def enter(*_: object) -> None:
        states.append(torch.get_rng_state())
        torch.manual_seed(0)

    def leave(*_: object) -> None:
        torch.set_rng_state(states.pop())

    for module in method.modules():
        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)


def survives_saving(subject: Subject) -> None:
    """Weights written and read give the same logits in a method built anew."""
    for method, stage, batch in subject.stages():
        step_losses(method, stage, batch)
        method.end_epoch(stage, 0, AP)
    other = subject.build(seed=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        save_file(method.state_dict(), path)
        other.load_state_dict(load_file(path))
    other.begin_stage(stage)
    with torch.no_grad():
        same = torch.equal(method.eval()(batch.features), other.eval()(batch.features))
    require_contract(same, "logits differ after the weights were written and read")


def explains(subject: Subject) -> None:
    """What `explain` and `diagnostics` give has the documented shapes."""
    for method, stage, batch in subject.stages():
        method.eval()
        with torch.no_grad():
            parts = method.explain(batch.features)
        videos, frames = batch.features.shape[:2]
        for name, part in parts.items():
            require_contract(
                part.shape in ((videos, frames), (videos, CLASSES)),
                f"explain()[{name!r}] has the shape {tuple(part.shape)}; "
                "expected videos by frames, or videos by classes",
            )
        for name, value in method.diagnostics(batch, stage).items():
            require_contract(
                isinstance(value, float), f"diagnostics()[{name!r}] is {value!r}, not a float"
            )


CLAUSES: dict[str, Callable[[Subject], None]] = {
    "builds from its defaults and presets": builds,
    "settings survive JSON": settings_survive_json,
    "finite logits, videos by classes": gives_logits,
    "loss is a finite scalar": gives_loss,
    "gradients for exactly what is trainable": trains_what_it_says,
    f"loss falls over {STEPS} steps, frozen parts stay": learns,
    "same seed, same losses": repeats,
    "all draws of a loss from its batch": draws_from_its_batch,
    "state survives saving": survives_saving,
    "explain and diagnostics have their shapes": explains,
}
