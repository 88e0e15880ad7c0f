"""Watching a run: its epochs in curve.jsonl, on the terminal and, if wanted, in TensorBoard."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from meid_bench import distributed
from meid_bench.codec import json_line
from meid_bench.errors import SettingError
from meid_bench.number_text import score_text
from meid_bench.progress import Progress
from meid_bench.results.record import CURVE, RECORD, CurvePoint
from meid_bench.training.checkpoint import Checkpoint
from meid_bench.training.request import Plan


@contextmanager
def curve_file(
    folder: Path, checkpoint: Checkpoint, log: Callable[[CurvePoint], None]
) -> Iterator[Callable[[CurvePoint], None]]:
    """A function that appends a point to the run's curve.jsonl, and then logs it.

    The file begins with the checkpoint's epochs. Only the first rank writes, and nothing beside a
    record (--again): its curve stays until the new one is complete.

    Raises:
        DataError: The checkpoint is damaged.
    """
    if distributed.rank() > 0 or (folder / RECORD).is_file():
        yield log
        return
    before = checkpoint.load(tensors=False)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / CURVE).open("w", encoding="utf-8") as file:
        file.writelines(json_line(point) for point in (before.curve if before else ()))
        file.flush()

        def write(point: CurvePoint) -> None:
            file.write(json_line(point))
            file.flush()
            log(point)

        yield write


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
        epochs, done = plan.epochs * len(plan.runs), _epochs_done(plan)
        bar = Progress(epochs, plan.request.shown, "epochs", done=done) if shown else None
        if bar is not None:
            stack.enter_context(bar)

        def log(point: CurvePoint) -> None:
            if bar is not None:
                loss = "not finite" if point.loss is None else f"{point.loss:.4f}"
                overall = point.val["overall"] or 0
                bar.update(note=f"{point.stage}, loss {loss}, val mAP {score_text(overall)}")
            if writer is not None:
                _write(writer, point)

        yield log


def _epochs_done(plan: Plan) -> int:
    """Epochs that an interrupted run need not train again."""
    found = (Checkpoint(run.folder).load(tensors=False) for run in plan.runs)
    unfinished = sum(len(progress.curve) for progress in found if progress)
    return unfinished + sum(run.epochs for run in plan.runs if run.finished)


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
