"""The table `sources`: what was mapped before, as the specs that map it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shardforge import __version__
from shardforge.errors import SourceError, UsageError
from shardforge.mapping.base import Mapping
from shardforge.paths import require_text
from shardforge.sources import SourceSpec
from shardforge.taxonomy.names import NamesChoice


@dataclass(frozen=True)
class MetadataFile:
    """A table that says more about images, and its column that is joined to them."""

    file: Path
    column: str


@dataclass(frozen=True)
class KnownSource:
    """A source, the metadata table that was joined to it, and the files of names that were applied to it."""

    spec: SourceSpec
    metadata: MetadataFile | None = None
    names: NamesChoice | None = None


def read_known(mapping: Mapping) -> dict[str, KnownSource]:
    """Return name -> source for all sources of the mapping."""
    rows = mapping.rows(
        "SELECT name, kind, root, file, options, metadata_file, metadata_column, names FROM sources ORDER BY name"
    )
    known = {}
    for name, kind, root, file, options, metadata_file, metadata_column, names in rows:
        asked = mapping.parse_object(options, "sources.options")
        spec = SourceSpec(name, kind, Path(root), asked, Path(file) if file else None)
        metadata = MetadataFile(Path(metadata_file), metadata_column) if metadata_file else None
        chosen = NamesChoice.from_json(mapping.parse_object(names, "sources.names")) if names else None
        known[name] = KnownSource(spec, metadata, chosen)
    return known


def check_source(mapping: Mapping, spec: SourceSpec, before: KnownSource | None) -> None:
    """Refuse a source that is not there, and one whose name stands for another kind: their keys would be mixed up.

    Raises:
        SourceError: its root is gone.
        UsageError: the mapping knows another kind of source by its name.
    """
    if before is not None and before.spec.kind != spec.kind:
        raise UsageError(
            f"--source {spec.name}={spec.kind}:{spec.root}: {mapping.path} already has a source {spec.name!r} of the "
            f"kind {before.spec.kind} ({before.spec.root}); give this one another name"
        )
    require_text(spec.file or spec.root)
    if not spec.root.is_dir():
        raise SourceError(
            f"source {spec.name!r}: the folder {spec.root} is not there; mount its disk, "
            f"or say where it is now by --source {spec.name}={spec.kind}:ROOT"
        )


def store_source(mapping: Mapping, source: KnownSource) -> None:
    """Write the row of a source, with the time of now."""
    spec, metadata = source.spec, source.metadata
    with mapping.transaction():
        mapping.execute("DELETE FROM sources WHERE name = $name", name=spec.name)
        mapping.execute(
            "INSERT INTO sources VALUES ($name, $kind, $root, $file, $options, "
            "$metadata_file, $metadata_column, $names, $scanned_at, $tool_version)",
            name=spec.name,
            kind=spec.kind,
            root=str(spec.root),
            file=str(spec.file) if spec.file else None,
            options=json.dumps(spec.options, sort_keys=True),
            metadata_file=str(metadata.file) if metadata else None,
            metadata_column=metadata.column if metadata else None,
            names=json.dumps(source.names.to_json(), sort_keys=True) if source.names else None,
            scanned_at=datetime.now(UTC).isoformat(timespec="seconds"),
            tool_version=__version__,
        )
