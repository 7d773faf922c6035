"""Images on disk that are not in the mapping, such as a benchmark's test set: listed, read and hashed in place."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from shardforge.braces import expand_braces
from shardforge.duplicates.hashing import HashTask, hash_part, take_fingerprints
from shardforge.errors import SourceError, UsageError
from shardforge.executors import Executor
from shardforge.sources import SourceSpec, open_source

_TASK_ROWS = 512
_LISTED = ("path", "offset", "bytes", "mtime", "label", "reason")

#: Where an image lies and what is known of it; columns as in the mapping.
COLLECTION_SCHEMA = pa.schema(
    [
        *(("root", pa.string()), ("path", pa.string()), ("offset", pa.int64()), ("bytes", pa.int64())),
        *(("mtime", pa.int64()), ("label", pa.string())),
        *(("content_hash", pa.string()), ("hash", pa.string()), ("quality", pa.int32())),
    ]
)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Collection:
    """The images of a place on disk.

    Attributes:
        name: how the user called the place.
        rows: one row of `COLLECTION_SCHEMA` per image that was read; hash and quality are null for one that cannot be
            decoded.
        failed: files that could not be read or decoded, by reason; other files than images are under not_an_image.
    """

    name: str
    rows: pa.Table
    failed: Counter[str]


def find_sources(location: Path) -> list[SourceSpec]:
    """Return what to list for a folder of images, of tars or of both, for a tar, or for a braced pattern of tars.

    Raises:
        UsageError: nothing is there.
    """
    location = Path(os.path.expanduser(location)).absolute()
    if location.is_dir():
        tars = next(location.rglob("*.tar"), None) is not None
        return [SourceSpec("folder", "folder", location), *([SourceSpec("tars", "wds", location)] if tars else [])]
    return tar_sources([Path(name) for name in expand_braces(str(location))])


def tar_sources(tars: Sequence[Path]) -> list[SourceSpec]:
    """Return a source for each tar.

    Raises:
        UsageError: one of them is not there.
    """
    for tar in tars:
        if tar.suffix != ".tar" or not tar.is_file():
            raise UsageError(
                f"{tar}: no folder, tar or _info.json; name one of these, or a pattern such as 'test-{{000..031}}.tar'"
            )
    return [SourceSpec(tar.name, "wds", tar.parent, {}, tar) for tar in tars]


def read_collection(
    name: str,
    sources: Sequence[SourceSpec],
    executor: Executor,
    *,
    progress: Progress = lambda stage, done, total: None,
) -> Collection:
    """Read and hash every image of the sources.

    Raises:
        SourceError: there is no image at all.
    """
    failed: Counter[str] = Counter()
    kept = [COLLECTION_SCHEMA.empty_table()]
    done = 0
    for result in executor.run(hash_part, _make_tasks(sources)):
        found = take_fingerprints(result)
        done += found.num_rows
        failed.update(found["reason"].drop_null().to_pylist())
        kept.append(_join(result.task, found).filter(pc.is_valid(found["content_hash"])))
        progress(f"read {name}", done, 0)
    rows = pa.concat_tables(kept).sort_by([("root", "ascending"), ("path", "ascending")])
    if not rows.num_rows:
        found = ", ".join(f"{count:,} {reason}" for reason, count in failed.most_common()) or "no file at all"
        raise SourceError(f"{name}: no image could be read there ({found}); is it the right place?")
    return Collection(name, rows, failed)


def _make_tasks(sources: Sequence[SourceSpec]) -> Iterator[HashTask]:
    for spec in sources:
        for batch in open_source(spec).list():
            rows = batch.select(_LISTED)
            if spec.kind == "folder":  # its tars are a source of their own
                rows = rows.filter(pc.invert(pc.ends_with(rows["path"], ".tar")))
            for start in range(0, rows.num_rows, _TASK_ROWS):
                yield HashTask(str(spec.root), rows.slice(start, _TASK_ROWS))


def _join(task: HashTask, found: pa.Table) -> pa.Table:
    """Return what was listed and what was read as one table."""
    columns = {"root": pa.repeat(task.root, task.rows.num_rows)}
    for table in (task.rows, found):
        columns.update(zip(table.column_names, table.columns, strict=True))
    return pa.table([columns[name] for name in COLLECTION_SCHEMA.names], schema=COLLECTION_SCHEMA)
