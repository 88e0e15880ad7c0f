"""The curve file of a run in progress: a line an epoch, those before a resume included."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from meid_bench import distributed as ranks
from meid_bench.jsonlines import json_line
from meid_bench.results.record import CURVE, CurvePoint
from meid_bench.training.checkpoint import Checkpoint


@contextmanager
def curve_file(folder: Path, checkpoint: Checkpoint) -> Iterator[Callable[[CurvePoint], None]]:
    """A function that appends a point; epochs after the checkpoint are trained, and come, again.

    Only the first rank writes.

    Raises:
        DataError: The checkpoint is damaged.
    """
    if ranks.rank() > 0:
        yield lambda point: None
        return
    progress = checkpoint.progress()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / CURVE).open("w", encoding="utf-8") as file:

        def write(point: CurvePoint) -> None:
            file.write(json_line(point))
            file.flush()

        for point in progress.curve if progress else ():
            write(point)
        yield write
