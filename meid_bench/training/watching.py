"""Watching a run: its progress on the terminal and, where asked for, in TensorBoard."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from meid_bench.errors import SettingError
from meid_bench.progress import Progress
from meid_bench.results.record import CurvePoint
from meid_bench.training.checkpoint import checkpoint_of
from meid_bench.training.request import Plan


@contextmanager
def curve_log(
    plan: Plan, tensorboard: bool = False, shown: bool = True
) -> Iterator[Callable[[CurvePoint], None]]:
    """A function that takes each epoch's point and shows it.

    Args:
        plan: The run.
        tensorboard: Write events beside the record too.
        shown: False for one of several processes, which would draw over each other.

    Raises:
        SettingError: TensorBoard is wanted and not installed.
    """
    if plan.finished:
        yield lambda point: None
        return
    with ExitStack() as stack:
        writer = stack.enter_context(_writer(plan)) if tensorboard else None
        bar = stack.enter_context(_progress(plan)) if shown else None

        def log(point: CurvePoint) -> None:
            if bar is not None:
                bar.update(note=_note(point))
            if writer is not None:
                _write(writer, point)

        yield log


def _progress(plan: Plan) -> Progress:
    epochs = plan.epochs * max(len(plan.grid), 1)
    return Progress(epochs, plan.request.shown, "epochs", done=_done(plan))


def _note(point: CurvePoint) -> str:
    loss = "not finite" if point.loss is None else f"{point.loss:.4f}"
    return f"{point.stage}, loss {loss}, val mAP {point.val['overall'] or 0:.3f}"


def _done(plan: Plan) -> int:
    """Epochs that an interrupted run need not train again."""
    trials = [plan.trial(rate) for rate in plan.grid] or [plan]
    found = (checkpoint_of(trial.folder).progress() for trial in trials)
    unfinished = sum(len(progress.curve) for progress in found if progress)
    return unfinished + sum(trial.epochs for trial in trials if trial.finished)


def _writer(plan: Plan) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SettingError(
            "--tensorboard needs TensorBoard; `pip install 'meid-bench[tensorboard]'`"
        ) from error
    return SummaryWriter(str(plan.folder))


def _write(writer: Any, point: CurvePoint) -> None:
    values = {"loss": point.loss, "lr": point.lr}
    values |= {f"val/{name}": value for name, value in point.val.items()}
    values |= {f"diagnostics/{name}": value for name, value in point.diagnostics.items()}
    for name, value in values.items():
        if value is not None:
            writer.add_scalar(f"{point.stage}/{name}", value, point.epoch)
