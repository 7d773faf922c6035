"""A source's listing in temporary tables, and what it changes in the mapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from shardforge.errors import MappingError, SourceError, UsageError
from shardforge.mapping.base import Mapping
from shardforge.mapping.known_sources import Metadata
from shardforge.records import DESCRIPTIVE
from shardforge.sources import Source
from shardforge.sources.columns import as_text, describe
from shardforge.sources.listing import relative_path
from shardforge.sources.table_file import read_table

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Changes:
    """How many images of a source are listed, and how many of these are of each kind; see sql/insert_changes.sql."""

    listed: int
    new: int
    changed: int
    unread: int
    described: int
    unchanged: int
    vanished: int
    matched: int
    unmatched: int


@contextmanager
def staging(mapping: Mapping) -> Iterator[None]:
    """Have the temporary tables of sql/create_staging.sql, empty, for the length of the block."""
    mapping.execute(mapping.query("drop_staging"))
    mapping.execute(mapping.query("create_staging"))
    yield
    mapping.execute(mapping.query("drop_staging"))


def stage(
    mapping: Mapping, source: Source, metadata: Metadata | None, *, hash_content: bool, progress: Progress
) -> Changes:
    """List a source, join the metadata to it, compare it with the mapping, and count."""
    name = source.spec.name
    listed = _stage_listing(mapping, source, progress)
    matched, unmatched = _join_metadata(mapping, source, metadata) if metadata else (0, 0)
    mapping.execute(mapping.query("insert_changes"), hash=int(hash_content))
    mapping.execute(mapping.query("insert_vanished"), source=name)
    mapping.index("changes", "number")
    counts: Counter[str] = Counter(dict(mapping.rows("SELECT change, count(*) FROM changes GROUP BY change")))
    [(vanished, named)] = mapping.rows(
        "SELECT count(*), count(l.key) FROM vanished AS v LEFT JOIN listed AS l ON l.key = v.key"
    )
    return Changes(
        listed=listed,
        new=counts["new"],
        changed=counts["changed"],
        unread=counts["unread"],
        described=counts["described"],
        unchanged=listed - counts.total() - named,
        vanished=vanished,
        matched=matched,
        unmatched=unmatched,
    )


def select_changed(mapping: Mapping, change: str, first: int, end: int, size: int) -> list[pa.Table]:
    """Return the listed images with this change and these numbers, in tables of `size` rows."""
    batches = mapping.batches(mapping.query("select_changed"), size=size, change=change, first=first, end=end)
    return [batch.drop_columns(["position"]) for batch in batches]


def _stage_listing(mapping: Mapping, source: Source, progress: Progress) -> int:
    spec = source.spec
    listed = 0
    with mapping.transaction():
        for batch in source.list():
            numbers = pa.array(np.arange(listed, listed + batch.num_rows))
            mapping.insert("listed", batch.append_column("position", numbers))
            listed += batch.num_rows
            progress(f"list {spec.name}", listed, 0)
    if listed == 0:
        raise SourceError(
            f"source {spec.name!r}: no file at all in {spec.file or spec.root}; is the disk mounted? "
            "Nothing was changed in the mapping"
        )
    mapping.index("listed", "key")
    mapping.index("listed", "position")
    twice = mapping.rows("SELECT min(path), count(*) FROM listed GROUP BY key HAVING count(*) > 1 LIMIT 1")
    if twice:
        raise MappingError(
            f"source {spec.name!r}: {twice[0][0]} is listed {twice[0][1]} times; a path can be mapped once: "
            "keep one of them"
        )
    return listed


def _join_metadata(mapping: Mapping, source: Source, metadata: Metadata) -> tuple[int, int]:
    """Describe the listed images by a table; return how many images it describes, and its rows without an image."""
    rows = _stage_metadata(mapping, source, metadata)
    twice = mapping.rows(
        "SELECT value, count(*) FROM described WHERE value IS NOT NULL GROUP BY value HAVING count(*) > 1 LIMIT 1"
    )
    if twice:
        raise MappingError(
            f"--metadata {metadata.file}: {metadata.column} is {twice[0][0]!r} in {twice[0][1]} rows; "
            "keep one row for each image"
        )
    mapping.index("described", "value")
    mapping.execute(mapping.query("insert_matches"))
    mapping.index("matches", "position")
    mapping.execute(mapping.query("join_metadata"))
    [(matched, used)] = mapping.rows("SELECT count(*), count(DISTINCT value) FROM matches")
    return matched, rows - used


def _stage_metadata(mapping: Mapping, source: Source, metadata: Metadata) -> int:
    schema = pa.schema([(name, pa.string()) for name in ("value", *DESCRIPTIVE)])
    root = bytes(source.spec.root)
    count = 0
    with mapping.transaction():
        for columns in read_table(metadata.file):
            if metadata.column not in columns:
                raise UsageError(
                    f"--on {metadata.column}: {metadata.file} has no such column; it has {', '.join(columns)}"
                )
            texts = map(as_text, columns.pop(metadata.column))
            values = [None if text is None else relative_path(root, text) for text in texts]
            said = {"value": values, **describe(columns, len(values))}
            count += len(values)
            mapping.insert(
                "described", pa.table({name: pa.array(said[name], schema.field(name).type) for name in said})
            )
    return count
