"""Result: the strict JSON record of one run, and the files that stand beside it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from meid_bench.codec import decode, read_json
from meid_bench.errors import DataError
from meid_bench.files import atomic, write_text
from meid_bench.jsonlines import read_json_lines
from meid_bench.results.metrics import Metrics

SCHEMA = 1
RECORD = "result.json"
SCORES = "scores.npz"
CURVE = "curve.jsonl"


@dataclass(frozen=True, slots=True)
class Features:
    """What a run was trained on, as far as a row of the board shows it.

    Attributes:
        name: Folder name of the store.
        fingerprint: The feature id, hexadecimal: the same recipe has the same in every lab.
        encoder: For example "resnet101".
        weights: For example "IMAGENET1K_V1".
        frames: T, frames per video.
        untrained: The encoder's weights were random.
        imported: The features were made elsewhere.
        provenance: What the id does not hold and may move the last digits: decoder, precision,
            versions, processor.
    """

    name: str
    fingerprint: str
    encoder: str
    weights: str
    frames: int
    untrained: bool
    imported: bool
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageResult:
    """How one training stage went; `best_val_map` is the overall mAP of its `best_epoch`."""

    name: str
    epochs: int
    best_epoch: int
    best_val_map: float


@dataclass(frozen=True, slots=True)
class Trial:
    """One learning rate that protocol "equal" tried, and the val mAP it reached."""

    lr: float
    val_map: float


@dataclass(frozen=True)
class Result:
    """Everything a row of the board rests on; the record is also the config file of its run.

    A submission has None wherever it cannot know: features, settings' origin, stages, val.

    Attributes:
        schema: Version of this format.
        benchmark, title, benchmark_fingerprint: Which benchmark, exactly.
        features: What was trained on; None for a submission.
        method: The method's name, or the submission's.
        aggregator: For example "nextvlad"; None for a submission.
        network: "own", or the registered network that the loss ran on, for example "e1".
        preset: For example "videolt"; None where the method's defaults hold.
        protocol: "paper" or "equal"; None for a submission.
        settings: Every setting of the method's Config and of the runner that can move a number.
        changed: Names of settings that are not what the preset, or the defaults, have.
        code: SHA-256 of the method's source, as `code_identity.code_of` takes it.
        seed: None for a submission.
        val, test: Metrics at the reported epoch; val is None for a submission.
        last_epoch_val, last_epoch_test: Metrics of the last epoch.
        selected_on: "val", always, for a run.
        epoch: The reported epoch of the last stage.
        stages: Each stage's length and best epoch.
        epochs: Epochs trained, all stages together.
        parameters: Number of parameters of the model.
        missing: Split to the listed ids that had no features.
        source: "run" or "submission".
        quick: The schedule was shortened; such a record never enters the board.
        trials: The learning rates of protocol "equal"; empty otherwise.
        warnings: Sentences about what may have failed silently.
        diagnostics: Last values of what the method measures of itself; None for not finite.
        environment: Versions, device, precision, threads.
        version, commit: Of meid-bench; commit is None outside its own checkout.
        seconds: Wall time of the run.
        date: When it ended, ISO 8601, UTC.
    """

    schema: int
    benchmark: str
    title: str
    benchmark_fingerprint: str
    features: Features | None
    method: str
    aggregator: str | None
    network: str | None
    preset: str | None
    protocol: Literal["paper", "equal"] | None
    settings: Mapping[str, Any]
    changed: tuple[str, ...]
    code: str | None
    seed: int | None
    val: Metrics | None
    test: Metrics
    last_epoch_val: Metrics | None
    last_epoch_test: Metrics | None
    selected_on: Literal["val"] | None
    epoch: int | None
    stages: tuple[StageResult, ...]
    epochs: int | None
    parameters: int | None
    missing: Mapping[str, tuple[str, ...]]
    source: Literal["run", "submission"]
    quick: bool
    trials: tuple[Trial, ...]
    warnings: tuple[str, ...]
    diagnostics: Mapping[str, float | None]
    environment: Mapping[str, Any]
    version: str
    commit: str | None
    seconds: float | None
    date: str


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One epoch of a run: a line of curve.jsonl.

    Attributes:
        stage: The stage's name.
        epoch: From 0 within the stage.
        lr: Learning rate of that epoch.
        loss: Mean training loss; None where it was not finite.
        val: "overall", "head", "medium" and "tail" mAP on val.
        diagnostics: What the method measures of itself; None for not finite.
    """

    stage: str
    epoch: int
    lr: float
    loss: float | None
    val: Mapping[str, float | None]
    diagnostics: Mapping[str, float | None]


def save_result(result: Result, folder: Path) -> None:
    """Write `folder`/result.json, whole or not at all; a run is finished once it is there."""
    write_text(folder / RECORD, _dump(result, indent=1) + "\n")


def load_result(path: Path) -> Result:
    """Read a record, from its file or from its run's folder.

    Raises:
        DataError: The file is missing, no JSON, of another schema, or has a key or a value that
            does not belong there.
    """
    path = path / RECORD if path.is_dir() else path
    data = _parse(path)
    if isinstance(data, dict) and data.get("schema") != SCHEMA:
        raise DataError(
            f"{path} has schema {data.get('schema')!r}; this meid-bench reads schema {SCHEMA}: "
            "use the version that wrote it, or run it again"
        )
    try:
        return decode(Result, data)
    except ValueError as error:
        raise DataError(f"{path} is no record: {error}; run it again, or move it away") from error


def read_records(folder: Path) -> tuple[dict[Path, Result], list[str]]:
    """Every finished run's record under one benchmark's folder of runs.

    Args:
        folder: As `paths.runs_dir` gives it; a folder that is not there has no runs.

    Returns:
        Run folder to its record, by name, and one sentence for each record that cannot be read.
        A folder without a record is a run that is not finished: it is in neither.
    """
    records: dict[Path, Result] = {}
    problems = []
    for path in sorted(folder.glob(f"*/{RECORD}")):
        try:
            records[path.parent] = load_result(path)
        except DataError as error:
            problems.append(str(error))
    return records, problems


def save_scores(folder: Path, ids: Sequence[str], scores: NDArray[Any]) -> None:
    """Write `folder`/scores.npz: "ids" (N,) and "scores" (N, C) float32 of the test split."""
    with atomic(folder / SCORES) as temporary, temporary.open("wb") as file:
        np.savez(file, ids=np.array(ids, dtype=np.str_), scores=scores.astype(np.float32))


def load_scores(path: Path) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Read ids and scores from a .npz file, or from a run's folder; never unpickles anything.

    Raises:
        DataError: The file is missing, damaged, or has not the two arrays.
    """
    path = path / SCORES if path.is_dir() else path
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("ids", "scores") if name in arrays}
            names = ", ".join(map(repr, arrays.keys()))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; run it again to have its scores") from error
    except Exception as error:  # whatever zip, zlib and numpy raise about a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} cannot be read as .npz with 'ids' and 'scores' ({reason})"
        ) from error
    if len(found) < 2:
        raise DataError(f"{path} holds {names or 'no array'}; expected 'ids' and 'scores'")
    ids, scores = found["ids"], found["scores"]
    if ids.ndim != 1 or ids.dtype.kind != "U" or scores.ndim != 2 or len(ids) != len(scores):
        raise DataError(
            f"{path}: expected ids (N,) of text and scores (N, classes), "
            f"not {ids.dtype} {ids.shape} and {scores.shape}"
        )
    return tuple(ids.tolist()), scores


def read_curve(folder: Path) -> list[CurvePoint]:
    """A run's learning curve; empty where there is none.

    Raises:
        DataError: A line is damaged.
    """
    return read_json_lines(folder / CURVE, CurvePoint, "run it again")


def _dump(item: Any, indent: int | None = None) -> str:
    # allow_nan=False: a NaN in a record is a mistake of the one who made it, not a value.
    return json.dumps(asdict(item), ensure_ascii=False, allow_nan=False, indent=indent)


def _parse(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: the run has not finished; run it again") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); run it again") from error
