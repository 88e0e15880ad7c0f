"""What stands beside a store's shards: how its features were made, and which videos failed."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

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

T = TypeVar("T")

MANIFEST = "manifest.json"
FAILURES = "failures.jsonl"
SCHEMA = 2
FRAME_RULE = "floor((i + 0.5) * n / T) of the n decoded frames"
CLIP_RULE = (
    "clips of L frames s apart about floor((i + 0.5) * n / T), their frame L // 2, "
    "clamped to the n decoded frames"
)
UNKNOWN = "unknown"
# Provenance that may differ between two runs of one store; both values are then recorded.
LIBRARIES = ("torch", "torchvision", "timm", "transformers")
ENVIRONMENT = ("decoder_version", "processor", *LIBRARIES, "tool", "videos")
AND = " + "
# Provenance that may move the features' last digits.
CONDITIONS = ("decoder", "decoder_version", "precision", "batch", "processor", *LIBRARIES)


@dataclass(frozen=True)
class Recipe:
    """What defines features, in every lab alike; its hash is the feature id.

    Attributes:
        encoder: Name of the model, as `--encoder` takes it.
        weights_sha256: SHA-256 of the weights' tensors.
        transform: Resize, crop and normalisation, in words.
        frames: T.
        width: D.
        source: Which videos: an archive's name such as "charades_v1_480", the user's name, or "rgb
            frames" for folders of jpgs.
        clip_length: Frames that the encoder is shown around each of the T.
        clip_stride: Frames from one of these to the next.
        frame_rule: Which frames the T are.
        pooling: How the encoder's vectors become one a row, in words; "" for an image model's own.
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
    pooling: str = ""

    @property
    def fingerprint(self) -> str:
        """The feature id: SHA-256 of the recipe as JSON with sorted keys, hexadecimal."""
        recipe = encode(self)
        if not self.pooling:  # older than the field
            del recipe["pooling"]
        text = json.dumps(recipe, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def encoder_text(self) -> str:
        """The encoder as a board names it: with clip and pooling, where it has them."""
        clip = f"{self.clip_length} frames {self.clip_stride} apart" if self.clip_length > 1 else ""
        return ", ".join(filter(None, (self.encoder, clip, self.pooling)))


def unknown_recipe(encoder: str, frames: int, width: int) -> Recipe:
    """The recipe of features of which only this is known."""
    return Recipe(encoder, UNKNOWN, UNKNOWN, frames, width, UNKNOWN, frame_rule=UNKNOWN)


@dataclass(frozen=True)
class Manifest:
    """What a store's manifest.json holds.

    Attributes:
        benchmark: Its name.
        benchmark_fingerprint: Of its labels.
        listed: How many videos it lists.
        ids_sha256: Of their ids, which decide the shard of each video.
        fingerprint: The feature id: the recipe's; of imported features the SHA-256 of the content.
        recipe: How the features were made.
        weights: Name of the weights as it was given.
        untrained: The weights are random.
        imported: The features were made elsewhere.
        provenance: Decoder, precision, batch, versions, processor, folder of the videos, date.
        schema: Version of this format.
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
    def parts(self) -> "tuple[Manifest, ...]":
        """Itself, as the only part: a joined manifest has several."""
        return (self,)

    @property
    def encoder(self) -> str:
        """Name of the model."""
        return self.recipe.encoder

    @property
    def encoder_text(self) -> str:
        """The model as a board names it."""
        return self.recipe.encoder_text

    @property
    def store_name(self) -> str:
        """The store's folder: <encoder>-<weights>-<T>-<first 8 of the feature id>."""
        encoder = re.sub("[:/]", "_", self.recipe.encoder)
        parts = (encoder, self.weights, self.recipe.frames, self.fingerprint[:8])
        return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "", str(part)) for part in parts)

    @property
    def conditions(self) -> dict[str, Any]:
        """The provenance that a board tells apart."""
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
    """The manifest of a benchmark's features; imported ones have a `fingerprint` of their own.

    Raises:
        SettingError: A name in it cannot be written as text.
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
    """The provenance of features of two runs: both values where they differ.

    >>> joined_provenance({"torch": "2.1", "date": "1"}, {"torch": "2.2", "date": "2"})
    {'torch': '2.1 + 2.2', 'date': '1'}
    """
    joined = dict(first)
    for key in ENVIRONMENT:
        if values := [side[key] for side in (first, other) if key in side]:
            joined[key] = AND.join(dict.fromkeys(AND.join(values).split(AND)))
    return joined


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `folder`/manifest.json, whole or not at all."""
    write_json(folder / MANIFEST, manifest)


def load_manifest(folder: Path) -> Manifest:
    """Read `folder`/manifest.json.

    Raises:
        DataError: It is missing, damaged, or of another version of the format.
    """
    return read_manifest(folder, manifest_of)


def manifest_of(data: Any) -> Manifest:
    """A manifest from parsed JSON.

    Raises:
        ValueError: It is none.
    """
    manifest = decode(Manifest, data)
    if not manifest.imported and manifest.recipe.fingerprint != manifest.fingerprint:
        raise ValueError("its recipe does not give its fingerprint")
    return manifest


def read_manifest(folder: Path, made_of: Callable[[Any], T]) -> T:
    """What `made_of` makes of the parsed `folder`/manifest.json.

    Raises:
        DataError: As `load_manifest`.
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
        return made_of(data)
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); {again}") from error


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a video has no features, in a sentence, and the decoder that tried."""

    id: str
    error: str
    decoder: str


def load_failures(folder: Path) -> dict[str, Failure]:
    """The failures of a store by id, sorted.

    Raises:
        DataError: A line of failures.jsonl is no failure.
    """
    failures = read_json_lines(folder / FAILURES, Failure, "delete the file and extract again")
    return {failure.id: failure for failure in failures}


def update_failures(folder: Path, tried: Iterable[str], failed: Iterable[Failure]) -> None:
    """Replace the failures of the ids just `tried` by `failed`, under a lock between processes."""
    with FileLock(folder / f".{FAILURES}.lock"):
        failures = load_failures(folder)
        for video_id in tried:
            failures.pop(video_id, None)
        for failure in failed:  # half of a surrogate pair, as decoders quote names, is no text
            error = failure.error.encode(errors="backslashreplace").decode()
            failures[failure.id] = replace(failure, error=error)
        lines = (json_line(failures[video_id]) for video_id in sorted(failures))
        write_text(folder / FAILURES, "".join(lines))
