"""Batches of records from columns: keys, file sizes and times, and nulls for all that is not known."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, repeat
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from shardforge import reasons
from shardforge.paths import encode_path, make_key, path_from_text, path_to_text
from shardforge.records import listing_schema
from shardforge.sources.base import SourceSpec

#: The most rows in a table of a listing.
BATCH_ROWS = 65_536

# A stat of a local disk is faster than handing it to a thread; on a network file system each waits for a server.
_STAT_THREADS = 16
_STAT_SLOW_SECONDS = 50e-6
_STAT_PROBES = 64
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

Item = TypeVar("Item")
FileStatus = tuple[int | None, int | None, str | None]


class Found(NamedTuple):
    """A file, or a member of an archive; of a plain file only the path is known before it is asked for its status."""

    path: str
    offset: int | None = None
    bytes: int | None = None
    mtime: int | None = None
    reason: str | None = None
    note: str | None = None


def batched(items: Iterable[Item], size: int = BATCH_ROWS) -> Iterator[list[Item]]:
    """Yield the items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def make_batch(spec: SourceSpec, paths: Sequence[str], columns: Mapping[str, Any]) -> pa.Table:
    """Return records as a table of `listing_schema()`.

    Args:
        spec: The source they belong to.
        paths: Their paths, written by `path_to_text`.
        columns: Further columns by name, one value per path; a column that is not given is null.
    """
    known: dict[str, Any] = {"key": [make_key(spec.name, path) for path in paths], "path": paths, **columns}
    arrays = {"source": pa.repeat(pa.scalar(spec.name), len(paths))}
    for field in listing_schema():
        if field.name in known:
            arrays[field.name] = make_array(known[field.name], field.type)
        elif field.name not in arrays:
            arrays[field.name] = pa.nulls(len(paths), field.type)
    empty = pc.if_else(pc.equal(arrays["bytes"], 0), reasons.EMPTY_FILE, pa.scalar(None, pa.string()))
    arrays["reason"] = pc.coalesce(arrays["reason"], empty)
    return pa.table([arrays[name] for name in listing_schema().names], schema=listing_schema())


def make_array(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Return values, or what is an array already, as an array of a type."""
    return values.cast(kind) if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)


def make_file_batch(spec: SourceSpec, paths: Sequence[str], columns: Mapping[str, Any]) -> pa.Table:
    """Return records of files: `make_batch` with the size and time of each file, or why it has none."""
    found = stat_files(os.fsencode(spec.root), paths)
    sizes, times, why = zip(*found, strict=True) if found else ((), (), ())
    return make_batch(spec, paths, {**columns, "bytes": sizes, "mtime": times, "reason": why})


def make_found_batch(spec: SourceSpec, found: Sequence[Found], columns: Mapping[str, Any]) -> pa.Table:
    """Return records of what `find_files` found: sizes, times and reasons of plain files are asked for here.

    Values in the columns `reason` and `note` say why a file cannot be used that is there.
    """
    plain = [i for i, file in enumerate(found) if file.mtime is None and file.reason is None]
    status: list[FileStatus] = [(file.bytes, file.mtime, file.reason) for file in found]
    for i, known in zip(plain, stat_files(os.fsencode(spec.root), [found[i].path for i in plain]), strict=True):
        status[i] = known
    sizes, times, why = zip(*status, strict=True)
    blank = pa.nulls(len(found), pa.string())
    said = {
        name: pc.coalesce(pa.array(values, pa.string()), make_array(columns.get(name, blank), pa.string()))
        for name, values in (("reason", why), ("note", [file.note for file in found]))
    }
    where = {"offset": [file.offset for file in found], "bytes": sizes, "mtime": times}
    return make_batch(spec, [file.path for file in found], {**columns, **where, **said})


def relative_path(root: bytes, path: bytes | str) -> str:
    """Return a path that a user wrote as text relative to `root`; one that lies elsewhere stays absolute."""
    raw = encode_path(path)
    if raw.startswith(folder := root.rstrip(b"/") + b"/"):
        raw = raw[len(folder) :].lstrip(b"/")
    while raw.startswith(b"./"):
        raw = raw[2:].lstrip(b"/")
    return path_to_text(raw)


def stat_file(folder: bytes, path: str) -> FileStatus:
    """Return size, modification time in ns and reason of a file; `folder` ends in a slash, links are followed."""
    raw = path_from_text(path)
    if not raw.startswith(b"/"):
        raw = folder + raw
    try:
        status = os.stat(raw)
    except OSError as error:
        if error.errno not in _MISSING:
            return None, None, reasons.UNREADABLE
        return None, None, reasons.BROKEN_LINK if os.path.islink(raw) else reasons.VANISHED
    except ValueError:  # a null byte, which no file name holds
        return None, None, reasons.VANISHED
    if not stat.S_ISREG(status.st_mode):
        return None, None, reasons.UNREADABLE
    return status.st_size, status.st_mtime_ns, None


def stat_files(root: bytes, paths: Sequence[str]) -> list[FileStatus]:
    """Return the status of each file, in threads where the first few show that it takes long."""
    folder = root.rstrip(b"/") + b"/"
    started = time.perf_counter()
    found = [stat_file(folder, path) for path in paths[:_STAT_PROBES]]
    rest = paths[_STAT_PROBES:]
    if time.perf_counter() - started < _STAT_SLOW_SECONDS * len(found):
        return found + [stat_file(folder, path) for path in rest]
    with ThreadPoolExecutor(_STAT_THREADS) as pool:
        return found + list(pool.map(stat_file, repeat(folder), rest))
