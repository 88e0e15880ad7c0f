"""Records: the strict JSON of a run or a submission, and the files that stand beside it."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from meid_bench.codec import decode, encode, read_json, read_json_lines, write_json
from meid_bench.errors import DataError
from meid_bench.files import atomic
from meid_bench.results.metrics import Metrics

SCHEMA = 1
RECORD = "result.json"
SCORES = "scores.npz"
VAL_SCORES = "val_scores.npz"
CURVE = "curve.jsonl"


@dataclass(frozen=True, slots=True)
class Features:
    """What a run was trained on, as far as a row of the board shows it.

    Attributes:
        name: Folder name of the store; this and the next three are of all stores, with "+" between
            them, where several are joined.
        fingerprint: The feature id, hexadecimal: the same recipe has the same in every lab.
        encoder: For example "resnet101"; with its clip, where it sees one.
        weights: For example "IMAGENET1K_V1".
        frames: T, frames per video.
        untrained: The encoder's weights were random, or those of one of them.
        imported: The features were made elsewhere, or some of them.
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

    @property
    def short_id(self) -> str:
        """The beginning of the feature id, of every part's."""
        return short_id(self.fingerprint)


def short_id(fingerprint: str) -> str:
    """A feature id as people read it.

    >>> short_id("0123456789abcdef+fedcba9876543210")
    '01234567+fedcba98'
    """
    return "+".join(part[:8] for part in fingerprint.split("+"))


@dataclass(frozen=True, slots=True)
class StageResult:
    """How one training stage went; `best_val_map` is the overall mAP of its `best_epoch`."""

    name: str
    epochs: int
    best_epoch: int
    best_val_map: float


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings that protocol "equal" tried, by name, and the val mAP that they reached."""

    settings: Mapping[str, Any]
    val_map: float


@dataclass(frozen=True)
class Record:
    """What every row of the board rests on, a run's or a submission's.

    Attributes:
        schema: Version of this format.
        benchmark, title, benchmark_fingerprint: Which benchmark, exactly.
        method: The method's name, or the submission's.
        test: Metrics on the test list.
        evaluator: Version of the metrics' code, `metrics.EVALUATOR`.
        warnings: Sentences about what may have failed silently.
        version, commit: Of meid-bench; commit is None outside its own checkout.
        date: When it was made, ISO 8601, UTC.
    """

    schema: int
    benchmark: str
    title: str
    benchmark_fingerprint: str
    method: str
    test: Metrics
    evaluator: int
    warnings: tuple[str, ...]
    version: str
    commit: str | None
    date: str


@dataclass(frozen=True)
class Submission(Record):
    """Scores that were made elsewhere: nothing more is known of them."""


@dataclass(frozen=True)
class Result(Record):
    """A run; its record is also its config file.

    Attributes:
        features: What was trained on.
        aggregator: For example "nextvlad".
        network: "own", or the registered network that the loss ran on, for example "e1".
        preset: For example "videolt"; None where the method's defaults hold.
        protocol: "paper" or "equal".
        settings: Every setting of the method's Config and of the runner that can move a number.
        changed: Names of settings that are not what the preset, or the defaults, have.
        code: SHA-256 of the method's source, as `code_identity.code_of` takes it.
        seed: Of everything random.
        val: Metrics at the reported epoch, as `test`.
        last_epoch_val, last_epoch_test: Metrics of the last epoch.
        selected_on: "val", always.
        epoch: The reported epoch of the last stage.
        stages: Each stage's length and best epoch.
        epochs: Epochs trained, all stages together.
        parameters: Number of parameters of the model.
        missing: Split to the listed ids that had no features.
        quick: The schedule was shortened; such a record never enters the board.
        trials: What protocol "equal" tried; empty otherwise.
        diagnostics: Last values of what the method measures of itself; None for not finite.
        environment: Versions, device, precision, threads.
        seconds: Wall time of the run.
    """

    features: Features
    aggregator: str
    network: str
    preset: str | None
    protocol: Literal["paper", "equal"]
    settings: Mapping[str, Any]
    changed: tuple[str, ...]
    code: str
    seed: int
    val: Metrics
    last_epoch_val: Metrics
    last_epoch_test: Metrics
    selected_on: Literal["val"]
    epoch: int
    stages: tuple[StageResult, ...]
    epochs: int
    parameters: int
    missing: Mapping[str, tuple[str, ...]]
    quick: bool
    trials: tuple[Trial, ...]
    diagnostics: Mapping[str, float | None]
    environment: Mapping[str, Any]
    seconds: float


KINDS: Mapping[str, type[Record]] = {"run": Result, "submission": Submission}


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


def save_record(record: Record, folder: Path) -> None:
    """Write `folder`/result.json, whole or not at all; a run is finished once it is there."""
    write_json(folder / RECORD, {"kind": kind_of(record), **encode(record)})


def kind_of(record: Record) -> str:
    """What it is the record of: "run" or "submission"."""
    return next(kind for kind, of in KINDS.items() if isinstance(record, of))


def load_record(path: Path) -> Record:
    """Read a run's or a submission's record, from its file or from its folder.

    Raises:
        DataError: The file is missing, no JSON, of another schema, or has a key or a value that
            does not belong there.
    """
    path = path / RECORD if path.is_dir() else path
    try:
        data = read_json(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: the run has not finished; run it again") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); run it again") from error
    try:
        if not isinstance(data, dict):
            raise ValueError("it must be an object")
        if data.get("schema") != SCHEMA:
            raise DataError(
                f"{path} has schema {data.get('schema')!r}; this meid-bench reads schema {SCHEMA}: "
                "use the version that wrote it, or run it again"
            )
        kind = str(data.pop("kind", None))
        if kind not in KINDS:
            raise ValueError(f"its kind is {kind}, expected one of {', '.join(KINDS)}")
        return decode(KINDS[kind], data)
    except ValueError as error:
        raise DataError(f"{path} is no record: {error}; run it again, or move it away") from error


def load_result(path: Path) -> Result:
    """Read a run's record, from its file or from its folder.

    Raises:
        DataError: As `load_record`, or it is a submission's.
    """
    record = load_record(path)
    if not isinstance(record, Result):
        raise DataError(f"{path} is a submission: it has scores, but no model")
    return record


def read_records(folder: Path) -> tuple[dict[Path, Record], list[str]]:
    """Every record, of a finished run or a submission, under one benchmark's folder of runs.

    Args:
        folder: As `paths.runs_dir` gives it; a folder that is not there has no runs.

    Returns:
        Run folder to its record, by name, and one sentence for each record that cannot be read.
        A folder without a record is a run that is not finished: it is in neither.
    """
    records: dict[Path, Record] = {}
    problems = []
    for path in sorted(folder.glob(f"*/{RECORD}")):
        try:
            records[path.parent] = load_record(path)
        except DataError as error:
            problems.append(str(error))
    return records, problems


def save_scores(folder: Path, ids: Sequence[str], scores: NDArray[Any], name: str = SCORES) -> None:
    """Write a file of scores, the test split's or val's: "ids" (N,), "scores" (N, C) float32."""
    with atomic(folder / name) as temporary, temporary.open("wb") as file:
        np.savez(file, ids=np.array(ids, dtype=np.str_), scores=scores.astype(np.float32))


def load_scores(path: Path) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Read ids and scores from a .npz file, or from a run's folder; never unpickles anything.

    Raises:
        DataError: The file is missing, damaged, or has not the two arrays.
    """
    path = path / SCORES if path.is_dir() else path
    if path.is_file() and not zipfile.is_zipfile(path):
        raise DataError(
            f"{path} cannot be read as .npz with 'ids' and 'scores' (it is no zip, or cut off)"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: np.asarray(arrays[name]) for name in ("ids", "scores") if name in arrays}
            names = ", ".join(map(repr, arrays.keys()))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; a run has its scores beside its record") from error
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
