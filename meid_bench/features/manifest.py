"""What stands beside a store's shards: how its features were made, and which videos failed."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.codec import (
    check_recordable,
    decode,
    encode,
    json_line,
    read_json,
    read_json_lines,
    write_json,
)
from meid_bench.errors import DataError
from meid_bench.files import write_text

MANIFEST = "manifest.json"
FAILURES = "failures.jsonl"
SCHEMA = 2
FRAME_RULE = "floor((i + 0.5) * n / T) of the n decoded frames"
UNKNOWN = "unknown"
# What of an extraction's provenance is a machine's, not the user's choice; another run of the same
# store may have other values, and then both are recorded.
ENVIRONMENT = ("decoder_version", "processor", "torch", "torchvision", "tool", "videos")
AND = " + "
CONDITIONS = (
    "decoder",
    "decoder_version",
    "precision",
    "batch",
    "processor",
    "torch",
    "torchvision",
)


@dataclass(frozen=True)
class Recipe:
    """What a reader of a paper would ask of features; its hash is the feature id.

    What else may move their last digits (decoder, precision, versions, processor) is provenance:
    the same recipe has the same id in every lab.

    Attributes:
        encoder: Name of the model.
        weights_sha256: Of the weights' tensors, however they were packed.
        transform: Resize, crop and normalisation, in words.
        frames: T.
        width: D.
        source: Of which videos: an archive's name such as "charades_v1_480", what the user says,
            or "rgb frames" for folders of jpgs.
        clip_length: Frames that the encoder is shown about each of the T.
        clip_stride: Frames from one of these to the next.
        frame_rule: Which frames the T are.
    """

    encoder: str
    weights_sha256: str
    transform: str
    frames: int
    width: int
    source: str
    clip_length: int = 1
    clip_stride: int = 1
    frame_rule: str = FRAME_RULE

    @property
    def fingerprint(self) -> str:
        """The feature id: SHA-256 of the recipe as JSON with sorted keys, hexadecimal."""
        text = json.dumps(encode(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def unknown_recipe(encoder: str, frames: int, width: int) -> Recipe:
    """The recipe of features of which nobody told more than this."""
    return Recipe(encoder, UNKNOWN, UNKNOWN, frames, width, UNKNOWN, frame_rule=UNKNOWN)


@dataclass(frozen=True)
class Manifest:
    """What a store's manifest.json holds.

    Attributes:
        benchmark: Whose videos the store is for.
        benchmark_fingerprint: Of its labels.
        listed: How many videos it lists.
        ids_sha256: Of their ids: they decide which video is in which shard.
        fingerprint: The feature id: the recipe's; of imported features the sha256 of their content.
        recipe: How the features were made; "unknown" where nobody knows.
        weights: Name of the weights as it was given.
        untrained: The weights are random.
        imported: The features were made elsewhere.
        provenance: Under which conditions they were made: decoder, precision, versions, processor,
            folder of the videos, batch, date.
        schema: Number of this format.
    """

    benchmark: str
    benchmark_fingerprint: str
    listed: int
    ids_sha256: str
    fingerprint: str
    recipe: Recipe
    weights: str
    untrained: bool = False
    imported: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def store_name(self) -> str:
        """Folder name of the store: <encoder>-<weights>-<T>-<first 8 of the feature id>."""
        parts = (self.recipe.encoder, self.weights, self.recipe.frames, self.fingerprint[:8])
        return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "", str(part)) for part in parts)

    @property
    def conditions(self) -> dict[str, Any]:
        """The provenance that may move the features' last digits: what a board tells apart."""
        return {key: self.provenance[key] for key in CONDITIONS if key in self.provenance}


def make_manifest(
    benchmark: Benchmark,
    recipe: Recipe,
    *,
    weights: str,
    untrained: bool = False,
    imported: bool = False,
    fingerprint: str | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Manifest:
    """The manifest of a benchmark's features, see `Manifest`; a `fingerprint` is for imports.

    Raises:
        SettingError: A name in it is no text, as a folder's may be.
    """
    ids = benchmark.all_ids()
    manifest = Manifest(
        benchmark=benchmark.name,
        benchmark_fingerprint=benchmark.fingerprint,
        listed=len(ids),
        ids_sha256=hashlib.sha256("".join(f"{name}\n" for name in ids).encode()).hexdigest(),
        fingerprint=fingerprint or recipe.fingerprint,
        recipe=recipe,
        weights=weights,
        untrained=untrained,
        imported=imported,
        provenance=dict(provenance or {}),
    )
    check_recordable(manifest, "manifest")
    return manifest


def joined_provenance(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance of features that were made under two conditions: both, where they differ.

    >>> joined_provenance({"torch": "2.1", "date": "1"}, {"torch": "2.2", "date": "2"})
    {'torch': '2.1 + 2.2', 'date': '1'}
    """
    joined = dict(first)
    for key in ENVIRONMENT:
        values = [value for side in (first, other) if key in side for value in side[key].split(AND)]
        if values:
            joined[key] = AND.join(dict.fromkeys(values))
    return joined


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `folder`/manifest.json, whole or not at all."""
    write_json(folder / MANIFEST, manifest)


def load_manifest(folder: Path) -> Manifest:
    """Read `folder`/manifest.json.

    Raises:
        DataError: There is none, it is not one, or it is of another version of the format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(
            f"{folder} is no feature store: it has no {MANIFEST}; `meid-bench extract` makes one"
        )
    again = f"move {folder} away and extract or import again"
    try:
        data = read_json(path)
        if data.get("schema") != SCHEMA:
            raise DataError(
                f"{path} has schema {data.get('schema')!r}, this version reads {SCHEMA}; {again}"
            )
        manifest = decode(Manifest, data)
        if not manifest.imported and manifest.recipe.fingerprint != manifest.fingerprint:
            raise ValueError("its recipe does not give its fingerprint")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}); {again}") from error
    return manifest


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a video has no features: its id, one sentence, and the decoder that said so."""

    id: str
    error: str
    decoder: str


def load_failures(folder: Path) -> dict[str, Failure]:
    """The failures of a store by id, in the order of ids; none where nothing failed yet.

    Raises:
        DataError: A line of failures.jsonl is no failure.
    """
    failures = read_json_lines(folder / FAILURES, Failure, "delete the file and extract again")
    return {failure.id: failure for failure in failures}


def update_failures(folder: Path, tried: Iterable[str], failed: Iterable[Failure]) -> None:
    """Of the ids just `tried`, let exactly the `failed` ones stand in failures.jsonl.

    Several processes may do so at once: the file is read and replaced under a lock.
    """
    with FileLock(folder / f".{FAILURES}.lock"):
        failures = load_failures(folder)
        for video_id in tried:
            failures.pop(video_id, None)
        for failure in failed:  # half of a surrogate pair, as decoders quote names, is no text
            error = failure.error.encode(errors="backslashreplace").decode()
            failures[failure.id] = replace(failure, error=error)
        lines = (json_line(failures[video_id]) for video_id in sorted(failures))
        write_text(folder / FAILURES, "".join(lines))
