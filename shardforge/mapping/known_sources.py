"""The table `sources`: what was mapped before, as the specs that map it again."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shardforge import __version__
from shardforge.errors import SourceError, UsageError
from shardforge.mapping.base import Mapping
from shardforge.sources import SourceSpec


@dataclass(frozen=True)
class MetadataFile:
    """A table that says more about images, and its column that is joined to them."""

    file: Path
    column: str


@dataclass(frozen=True)
class KnownSource:
    """A source and the metadata table that was joined to it."""

    spec: SourceSpec
    metadata: MetadataFile | None = None


def read_known(mapping: Mapping) -> dict[str, KnownSource]:
    """Return name -> source for all sources of the mapping."""
    rows = mapping.rows(
        "SELECT name, kind, root, file, options, metadata_file, metadata_column FROM sources ORDER BY name"
    )
    known = {}
    for name, kind, root, file, options, metadata_file, metadata_column in rows:
        spec = SourceSpec(name, kind, Path(root), json.loads(options), Path(file) if file else None)
        known[name] = KnownSource(spec, MetadataFile(Path(metadata_file), metadata_column) if metadata_file else None)
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
    if any("\udc80" <= character <= "\udcff" for character in str(spec.file or spec.root)):
        raise UsageError(
            f"source {spec.name!r}: the name of {os.fsencode(spec.root)!r} is not UTF-8 text, which a database cannot "
            "hold; rename it, or name a symbolic link to it"
        )
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
            "INSERT INTO sources VALUES "
            "($name, $kind, $root, $file, $options, $metadata_file, $metadata_column, $scanned_at, $tool_version)",
            name=spec.name,
            kind=spec.kind,
            root=str(spec.root),
            file=str(spec.file) if spec.file else None,
            options=json.dumps(spec.options, sort_keys=True),
            metadata_file=str(metadata.file) if metadata else None,
            metadata_column=metadata.column if metadata else None,
            scanned_at=datetime.now(UTC).isoformat(timespec="seconds"),
            tool_version=__version__,
        )
