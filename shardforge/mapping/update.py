"""Bring a mapping up to date with its sources: read what is new or changed, mark what vanished, leave the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from shardforge import reasons
from shardforge.executors.base import Executor
from shardforge.mapping.base import Mapping
from shardforge.mapping.buffer import RecordBuffer
from shardforge.mapping.known_sources import KnownSource, MetadataFile, check_source, read_known, store_source
from shardforge.mapping.scan import ScanTask, failed_record, scan_part
from shardforge.mapping.staging import Changes, Progress, select_changed, stage, staging
from shardforge.sources import Source, SourceSpec, open_source
from shardforge.sources.metadata import Metadata, load_metadata
from shardforge.sources.names import Naming
from shardforge.taxonomy.names import NamesChoice, open_names
from shardforge.taxonomy.resolve import NameResolver

_TASK_ROWS = 4_096
_QUERY_ROWS = 16 * _TASK_ROWS

_UNLISTED = "SELECT source, path FROM images WHERE reason = $reason ORDER BY source, path"
_FAULTS = (
    "SELECT i.source, i.path, n.note FROM images AS i JOIN notes AS n ON n.key = i.key AND n.dataset IS NULL"
    " WHERE i.reason = $reason ORDER BY 1, 2 LIMIT 3"
)


@dataclass(frozen=True)
class MapReport:
    """What a scan found.

    Attributes:
        changes: Source name -> what changed.
        reasons: Source name -> reason, None for usable -> images that are mapped.
        unlisted: The directories that could not be listed, as NAME: PATH.
        faults: Images that met a fault of this package, as NAME: PATH: NOTE; the first few.
        names: Source name -> what became of its names, for sources that files of names were applied to.
    """

    changes: dict[str, Changes] = field(default_factory=dict)
    reasons: dict[str, dict[str | None, int]] = field(default_factory=dict)
    unlisted: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    names: dict[str, Naming] = field(default_factory=dict)

    @property
    def bad(self) -> dict[str, int]:
        """Reason -> images of all sources that cannot be used for it, the most frequent first, then by name."""
        counts: Counter[str] = Counter()
        for of_source in self.reasons.values():
            counts.update({reason: images for reason, images in of_source.items() if reason is not None})
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def map_sources(
    mapping: Mapping,
    sources: Sequence[SourceSpec],
    executor: Executor,
    *,
    hash_content: bool = True,
    retry_bad: bool = False,
    metadata: MetadataFile | None = None,
    names: NamesChoice | None = None,
    names_cache: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> MapReport:
    """Scan `sources` into `mapping`.

    What an interrupted run has read is kept, and the next run goes on from there. Images that could not be used for a
    passing reason are read again, with `retry_bad` all that could not. The metadata table and the files of names are
    remembered for their sources, and used again by runs that give none; a choice of no files of names ends that.

    Raises:
        UsageError: a source is not what the mapping knows by its name.
        SourceError: a source cannot be listed, or lists nothing.
    """
    changes, namings = {}, _Namings(names_cache)
    for source, before in _open_sources(mapping, sources):
        now = _describe(source.spec, before, metadata, names)
        table, naming = _load(now.metadata), namings.start(now)
        with staging(mapping):
            found = stage(
                mapping, source, table, naming, hash_content=hash_content, retry_bad=retry_bad, progress=progress
            )
            if now != before:
                store_source(mapping, now)
            _mark_images(mapping, source.spec)
            found = _read_images(mapping, source.spec, found, executor, hash_content, progress)
            if found.new or found.changed or found.described or found.vanished:
                store_source(mapping, now)
        changes[source.spec.name] = found
    index_images(mapping)
    return _report(mapping, changes, namings.started)


def index_images(mapping: Mapping) -> None:
    """Make records fast to find by key, and repeated contents fast to find at all."""
    mapping.index("images", "key", unique=True)
    mapping.index("images", "content_hash")


def find_changes(
    mapping: Mapping,
    sources: Sequence[SourceSpec],
    *,
    hash_content: bool = True,
    retry_bad: bool = False,
    metadata: MetadataFile | None = None,
    names: NamesChoice | None = None,
    names_cache: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> MapReport:
    """Return what `map_sources` would find before it reads images; write nothing."""
    changes, namings = {}, _Namings(names_cache)
    for source, before in _open_sources(mapping, sources):
        now = _describe(source.spec, before, metadata, names)
        table, naming = _load(now.metadata), namings.start(now)
        with staging(mapping):
            found = stage(
                mapping, source, table, naming, hash_content=hash_content, retry_bad=retry_bad, progress=progress
            )
        changes[source.spec.name] = found
    return MapReport(changes, names=namings.started)


def _open_sources(mapping: Mapping, sources: Sequence[SourceSpec]) -> list[tuple[Source, KnownSource | None]]:
    """Return all sources, each with what the mapping knows by its name, after every one was checked."""
    known = read_known(mapping)
    for spec in sources:
        check_source(mapping, spec, known.get(spec.name))
    return [(open_source(spec), known.get(spec.name)) for spec in sources]


def _describe(
    spec: SourceSpec, before: KnownSource | None, metadata: MetadataFile | None, names: NamesChoice | None
) -> KnownSource:
    """Return the source with what describes it besides: what is given now, else what was before."""
    if before is not None:
        metadata, names = metadata or before.metadata, names.after(before.names) if names else before.names
    return KnownSource(spec, metadata, names if names and names.files else None)


class _Namings:
    """The files of names, read when the first source needs them; `started` has what became of each source's names."""

    def __init__(self, cache: Path | None) -> None:
        self._cache = cache
        self._resolvers: dict[NamesChoice, NameResolver] = {}
        self.started: dict[str, Naming] = {}

    def start(self, source: KnownSource) -> Naming | None:
        choice = source.names
        if choice is None:
            return None
        if choice not in self._resolvers:
            self._resolvers[choice] = open_names(choice, cache=self._cache)
        naming = Naming(self._resolvers[choice], label_is_name=bool(choice.label_is_name))
        self.started[source.spec.name] = naming
        return naming


def _load(table: MetadataFile | None) -> Metadata | None:
    return load_metadata(table.file, table.column) if table else None


def _mark_images(mapping: Mapping, spec: SourceSpec) -> None:
    """Change the rows of images that need not be read for it."""
    with mapping.transaction():
        mapping.execute(mapping.query("replace_described"))
        mapping.execute(mapping.query("update_vanished"))
        mapping.execute(mapping.query("delete_listable_notes"), source=spec.name)
        mapping.execute(mapping.query("delete_listable"), source=spec.name)


def _read_images(
    mapping: Mapping, spec: SourceSpec, found: Changes, executor: Executor, hash_content: bool, progress: Progress
) -> Changes:
    """Read what is new, changed or unread; return the changes with the unread ones told apart."""
    counts = {"new": found.new, "changed": found.changed, "unread": found.unread}
    tasks = _make_tasks(mapping, spec, counts, hash_content)
    done = mended = 0
    with RecordBuffer(mapping) as buffer:
        for result in executor.run(scan_part, tasks):
            records = failed_record(result.task, result.failed) if result.failed else result.unwrap()
            done += records.num_rows
            if result.task.change == "unread":
                records = _drop_unchanged(records, result.task.rows["was"])
                mended += records.num_rows
            buffer.add(records, replace=result.task.change != "new")
            progress(f"read {spec.name}", done, sum(counts.values()))
    return replace(found, changed=found.changed + mended, unread=0, unchanged=found.unchanged + found.unread - mended)


def _drop_unchanged(records: pa.Table, was: pa.ChunkedArray) -> pa.Table:
    """Return the records without those that cannot be used for the reason for which they could not be used before."""
    return records.filter(pc.invert(pc.fill_null(pc.equal(records["reason"], was), False)))


def _make_tasks(mapping: Mapping, spec: SourceSpec, counts: dict[str, int], hash_content: bool) -> Iterator[ScanTask]:
    for change, count in counts.items():
        for first in range(0, count, _QUERY_ROWS):
            for rows in select_changed(mapping, change, first, first + _QUERY_ROWS, _TASK_ROWS):
                yield ScanTask(str(spec.root), change, rows, hash_content)


def _report(mapping: Mapping, changes: dict[str, Changes], names: dict[str, Naming]) -> MapReport:
    report = MapReport(changes, {name: {} for name in changes}, names=names)
    for source, reason, images in mapping.rows(mapping.query("count_by_reason")):
        if source in changes:
            report.reasons[source][reason] = images
    if reasons.UNREADABLE_DIRECTORY in report.bad:
        rows = mapping.rows(_UNLISTED, reason=reasons.UNREADABLE_DIRECTORY)
        report.unlisted.extend(f"{source}: {path}" for source, path in rows if source in changes)
    if reasons.INTERNAL_ERROR in report.bad:
        rows = mapping.rows(_FAULTS, reason=reasons.INTERNAL_ERROR)
        report.faults.extend(f"{source}: {path}: {note}" for source, path, note in rows if source in changes)
    return report
