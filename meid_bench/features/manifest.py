"""The feature manifest: how the features of a store were made, and the fingerprint of that."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from meid_bench.benchmark.benchmark import Benchmark
from meid_bench.codec import decode, read_json
from meid_bench.errors import DataError
from meid_bench.files import write_text

FILE = "manifest.json"
SCHEMA = 1
FRAME_RULE = "floor((i + 0.5) * n / T) of the n decoded frames"


@dataclass(frozen=True)
class Recipe:
    """All that a feature depends on besides its video; its hash is the feature fingerprint.

    Attributes:
        encoder: Name of the model.
        weights_sha256: Of the weights' tensors, however they were packed.
        transform: Resize, crop and normalisation, in words.
        frames: T.
        width: D.
        decoder: "pyav", "decord" or "torchcodec"; "pillow" for folders of jpgs.
        decoder_version: Of the library, and of the codecs it carries.
        precision: "float32" or "bfloat16".
        source: Which archive the videos come from; "..., rgb frames" for folders of jpgs.
        frame_rule: Which frames are taken.
    """

    encoder: str
    weights_sha256: str
    transform: str
    frames: int
    width: int
    decoder: str
    decoder_version: str
    precision: str
    source: str
    frame_rule: str = FRAME_RULE

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the recipe as JSON with sorted keys, hexadecimal."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class _Manifest:
    """The keys of a manifest.json; see `feature_manifest`."""

    schema: int
    benchmark: str
    benchmark_fingerprint: str
    fingerprint: str
    recipe: Recipe
    weights: str
    untrained: bool
    imported: bool
    listed: int
    ids_sha256: str
    provenance: Mapping[str, Any]


def feature_manifest(
    benchmark: Benchmark,
    recipe: Recipe,
    *,
    weights: str,
    untrained: bool = False,
    imported: bool = False,
    fingerprint: str | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a store's manifest.json holds.

    Args:
        benchmark: Whose videos the store is for.
        recipe: How the features were made; "unknown" where nobody knows.
        weights: Name of the weights as it was given.
        untrained: The weights are random.
        imported: The features were made elsewhere.
        fingerprint: Of an imported store, the sha256 of its contents; the recipe's otherwise.
        provenance: Kept beside the recipe, not hashed: versions, processor, date, batch.
    """
    return {
        "schema": SCHEMA,
        "benchmark": benchmark.name,
        "benchmark_fingerprint": benchmark.fingerprint,
        "fingerprint": fingerprint or recipe.fingerprint,
        "recipe": asdict(recipe),
        "weights": weights,
        "untrained": untrained,
        "imported": imported,
        "listed": len(benchmark.all_ids()),
        "ids_sha256": ids_sha256(benchmark),
        "provenance": dict(provenance or {}),
    }


def ids_sha256(benchmark: Benchmark) -> str:
    """SHA-256 of the sorted ids, one a line: they decide which video is in which shard."""
    return hashlib.sha256("".join(f"{name}\n" for name in benchmark.all_ids()).encode()).hexdigest()


def store_name(manifest: Mapping[str, Any]) -> str:
    """Folder name of a store: <encoder>-<weights>-<T>-<first 8 of the fingerprint>."""
    recipe = manifest["recipe"]
    parts = (recipe["encoder"], manifest["weights"], recipe["frames"], manifest["fingerprint"][:8])
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "", str(part)) for part in parts)


def save_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write `folder`/manifest.json, whole or not at all."""
    write_text(folder / FILE, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def load_manifest(folder: Path) -> dict[str, Any]:
    """Read `folder`/manifest.json.

    Raises:
        DataError: There is none, or it is not one.
    """
    path = folder / FILE
    if not path.is_file():
        raise DataError(
            f"{folder} is no feature store: it has no {FILE}; `meid-bench extract` makes one"
        )
    try:
        manifest: dict[str, Any] = read_json(path)
        if manifest.get("schema") == SCHEMA:
            recipe = decode(_Manifest, manifest).recipe
            if not manifest["imported"] and recipe.fingerprint != manifest["fingerprint"]:
                raise ValueError("its recipe does not give its fingerprint")
    except (ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); move {folder} away and extract again"
        ) from error
    if manifest.get("schema") != SCHEMA:
        raise DataError(
            f"{path} has schema {manifest.get('schema')!r}, this version reads {SCHEMA}"
        )
    return manifest
