"""Trainable: the parameters that a stage trains; all others are frozen, statistics too."""

from torch import nn

from meid_bench.errors import MethodError
from meid_bench.methods.method import Method, Stage


def select_trainable(method: Method, stage: Stage) -> list[nn.Parameter]:
    """Let exactly the stage's parameters take gradients, and return them.

    Raises:
        MethodError: There are none.
    """
    chosen = list(method.trainable(stage))
    if not chosen:
        raise MethodError(
            f"{type(method).__name__} has no trainable parameter in stage {stage.name!r}"
        )
    wanted = {id(parameter) for parameter in chosen}
    for parameter in method.parameters():
        parameter.requires_grad_(id(parameter) in wanted)
    return chosen


def training_mode(method: Method) -> None:
    """Training mode, except for modules whose parameters are all frozen.

    A frozen expert must not change at all: no dropout, no running statistics.
    """
    method.train()
    for module in method.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()
