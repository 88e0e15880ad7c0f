"""JoinedManifest: how features were made whose columns are those of several stores."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meid_bench.codec import write_json
from meid_bench.features.manifest import (
    AND,
    MANIFEST,
    SCHEMA,
    UNKNOWN,
    Manifest,
    manifest_of,
    read_manifest,
)

PLUS = "+"  # between the names of what is joined


@dataclass(frozen=True)
class JoinedManifest:
    """The manifests of stores that are read as one.

    Attributes:
        parts: In the order of their columns.
        schema: Version of this format, the parts' own.
    """

    parts: tuple[Manifest, ...]
    schema: int = SCHEMA

    @property
    def fingerprint(self) -> str:
        """The feature ids of the parts, with "+" between them."""
        return PLUS.join(part.fingerprint for part in self.parts)

    @property
    def encoder(self) -> str:
        """Names of the models, with "+" between them."""
        return PLUS.join(part.encoder for part in self.parts)

    @property
    def encoder_text(self) -> str:
        """The models as a board names them."""
        return PLUS.join(part.encoder_text for part in self.parts)

    @property
    def weights(self) -> str:
        """Names of the weights, with "+" between them."""
        return PLUS.join(part.weights for part in self.parts)

    @property
    def untrained(self) -> bool:
        """Whether the weights of any part are random."""
        return any(part.untrained for part in self.parts)

    @property
    def imported(self) -> bool:
        """Whether the features of any part were made elsewhere."""
        return any(part.imported for part in self.parts)

    @property
    def conditions(self) -> dict[str, Any]:
        """The provenance that a board tells apart; each part's, in turn, where they differ."""
        each = [part.conditions for part in self.parts]
        joined = {}
        for key in dict.fromkeys(key for conditions in each for key in conditions):
            values = [conditions.get(key, UNKNOWN) for conditions in each]
            alike = all(value == values[0] for value in values)
            joined[key] = values[0] if alike else AND.join(map(str, values))
        return joined


def save_joined_manifest(folder: Path, manifest: Manifest | JoinedManifest) -> None:
    """Write the `folder`/manifest.json of a run, on features of one store or of several."""
    write_json(folder / MANIFEST, manifest)


def load_joined_manifest(folder: Path) -> Manifest | JoinedManifest:
    """Read what `save_joined_manifest` wrote.

    Raises:
        DataError: It is missing, damaged, or of another version of the format.
    """
    return read_manifest(folder, _either)


def _either(data: Any) -> Manifest | JoinedManifest:
    if "parts" not in data:
        return manifest_of(data)
    parts = tuple(map(manifest_of, data["parts"]))
    if len(parts) < 2:
        raise ValueError(f"it joins {len(parts)} stores")
    return JoinedManifest(parts)
