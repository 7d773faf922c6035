"""Checklists kept between runs, in one file each, so that a large file of names is parsed once.

The folder is the one asked for, else `$SHARDFORGE_CACHE`, else `shardforge` in `$XDG_CACHE_HOME` or `~/.cache`. A kept
checklist is used while the files that it was read from have the same paths, sizes and times, and the tool the same
version; a damaged one is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from shardforge import __version__
from shardforge.files import atomic_write
from shardforge.taxonomy.checklist import Checklist

_SCHEMA = 4
_IDENTITY = b"shardforge"
_TABLES = ("taxa", "names", "vernaculars")
_CRC_BYTES = 4


def cache_folder() -> Path:
    """Return the folder for what can be made anew."""
    named = os.environ.get("SHARDFORGE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shardforge"


def load_cached(kind: str, parts: Sequence[Path], make: Callable[[], Checklist], folder: Path | None) -> Checklist:
    """Return the checklist that `make` makes of the files `parts`: the one that was kept, else a new one, then kept.

    Raises:
        DatasetError: the folder cannot be written.
    """
    identity = _identify(kind, parts)
    name = hashlib.sha256(json.dumps([kind, [str(part) for part in parts]]).encode()).hexdigest()[:24]
    file = (folder or cache_folder()) / "names" / f"{name}.arrow"
    kept = _read(file, identity)
    if kept is None:
        kept = make()
        _write(file, identity, kept)
    return kept


def _identify(kind: str, parts: Sequence[Path]) -> str:
    """Return what a checklist was made of and by."""
    files = [(str(part), status.st_size, status.st_mtime_ns) for part in parts for status in [part.stat()]]
    return json.dumps([_SCHEMA, __version__, kind, files])


def _read(file: Path, identity: str) -> Checklist | None:
    """Return the kept checklist, or None where there is none of this identity that is whole."""
    try:
        content = memoryview(file.read_bytes())
        stored, data = content[-_CRC_BYTES:], content[:-_CRC_BYTES]
        if int.from_bytes(stored, "little") != zlib.crc32(data):
            return None
        source = pa.BufferReader(pa.py_buffer(data))
        tables = [pa.ipc.open_stream(source).read_all() for _ in _TABLES]
    except (OSError, pa.ArrowException):
        return None
    if (tables[0].schema.metadata or {}).get(_IDENTITY) != identity.encode():
        return None
    return Checklist(*tables)


def _write(file: Path, identity: str, checklist: Checklist) -> None:
    sink = pa.BufferOutputStream()
    for name in _TABLES:
        table = getattr(checklist, name).replace_schema_metadata({_IDENTITY: identity})
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    data = sink.getvalue()
    with atomic_write(file) as out:
        out.write(data)
        out.write(zlib.crc32(data).to_bytes(_CRC_BYTES, "little"))
