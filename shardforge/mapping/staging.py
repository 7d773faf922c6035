"""A source's listing in temporary tables, and what it changes in the mapping."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from shardforge.errors import SourceError
from shardforge.mapping.base import Mapping
from shardforge.mapping.listing_notes import note_metadata, note_names, note_paths, note_repeated
from shardforge.mapping.repeated import find_spelled, merge_repeated
from shardforge.samples import Note
from shardforge.sources import Source
from shardforge.sources.base import notes_of
from shardforge.sources.metadata import Metadata, join_metadata
from shardforge.sources.names import Naming
from shardforge.sources.ranks import drop_no_names

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Changes:
    """Images of a source: how many are listed, and how many are of each kind of sql/insert_changes.sql.

    `matched` images are described by the metadata, `unmatched` of its rows describe none; `notes` say what is odd about
    the listing, or about the samples of tars.
    """

    listed: int
    new: int
    changed: int
    unread: int
    described: int
    unchanged: int
    vanished: int
    matched: int
    unmatched: int
    notes: tuple[Note, ...] = ()


@contextmanager
def staging(mapping: Mapping) -> Iterator[None]:
    """Have the temporary tables of sql/create_staging.sql, empty, for the length of the block."""
    mapping.execute(mapping.query("drop_staging"))
    mapping.execute(mapping.query("create_staging"))
    yield
    mapping.execute(mapping.query("drop_staging"))


def stage(
    mapping: Mapping,
    source: Source,
    metadata: Metadata | None,
    naming: Naming | None,
    *,
    hash_content: bool,
    retry_bad: bool,
    progress: Progress,
) -> Changes:
    """List a source, join the metadata to it, settle its names, compare it with the mapping, and count."""
    listed, notes = _stage_listing(mapping, source, metadata, naming, progress)
    mapping.execute(mapping.query("insert_changes"), hash=int(hash_content), retry=int(retry_bad))
    mapping.execute(mapping.query("insert_vanished"), source=source.spec.name)
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
        matched=metadata.matched if metadata else 0,
        unmatched=metadata.unmatched if metadata else 0,
        notes=(*notes_of(source), *notes),
    )


def select_changed(mapping: Mapping, change: str, first: int, end: int, size: int) -> list[pa.Table]:
    """Return the listed images with this change and these numbers, and what their reasons were, `size` to a table."""
    batches = mapping.batches(mapping.query("select_changed"), size=size, change=change, first=first, end=end)
    return [batch.drop_columns(["position"]) for batch in batches]


def _list(source: Source) -> Iterator[pa.Table]:
    """List a source; what keeps its files from being read is the source's error."""
    try:
        yield from source.list()
    except OSError as error:
        place = os.fsdecode(error.filename) if error.filename else source.spec.file or source.spec.root
        raise SourceError(
            f"source {source.spec.name!r}: {place} cannot be read ({error.strerror or error}); allow reading it"
        ) from error


def _stage_listing(
    mapping: Mapping, source: Source, metadata: Metadata | None, naming: Naming | None, progress: Progress
) -> tuple[int, list[Note]]:
    """Fill `listed`, ready for joins, with a row for each path; return how many there are, and what is to be told."""
    spec = source.spec
    listed = 0
    nameless: Counter[str] = Counter()
    for batch in _list(source):
        records = join_metadata(batch, metadata) if metadata else batch
        records, dropped = drop_no_names(records)
        nameless.update(dropped)
        records = naming.apply(records) if naming else records
        numbers = pa.array(np.arange(listed, listed + batch.num_rows))
        mapping.insert("listed", records.append_column("position", numbers))
        if (spelled := find_spelled(spec, batch, listed)).num_rows:
            mapping.insert("spelled", spelled)
        listed += batch.num_rows
        progress(f"list {spec.name}", listed, 0)
    if listed == 0:
        raise SourceError(
            f"source {spec.name!r}: no file at all in {spec.file or spec.root}; is the disk mounted? "
            "Nothing was changed in the mapping"
        )
    mapping.index("listed", "key")
    mapping.index("listed", "position")
    repeated = merge_repeated(mapping)
    listed -= repeated.rows
    paths = note_paths(mapping, spec, listed)
    return listed, [*paths, *note_repeated(repeated), *note_names(nameless), *note_metadata(metadata)]
