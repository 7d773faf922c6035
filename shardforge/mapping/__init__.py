"""The mapping: one database file with a row for every image that was met, in DuckDB or SQLite."""

from __future__ import annotations

import errno
import glob
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shardforge.errors import MappingError, MappingMissingError, UsageError
from shardforge.files import explain_os_error
from shardforge.mapping.base import Mapping
from shardforge.paths import require_text

__all__ = ["Mapping", "open_mapping"]

_ENGINES = {".duckdb": "duckdb", ".sqlite": "sqlite", ".sqlite3": "sqlite", ".db": "sqlite"}


def open_mapping(path: Path, *, write: bool = False, create: bool = False) -> Mapping:
    """Open the mapping at `path`, to be used with `with`; the suffix chooses the engine.

    Any number of processes may read a mapping at the same time; a process that opens it with `write` is alone with it.
    `create` (with `write`) makes the mapping when there is none.

    Raises:
        UsageError: no engine has this suffix, or the folder does not exist.
        MappingMissingError: there is no mapping, or the file is something else.
        MappingError: it is of another schema version, or another process holds it.
        DatasetError: the place cannot be written.
    """
    engine = _load_engine(engine_of(path))
    _check_place(path, write=write, create=create)
    made = create and not path.exists()
    if made:
        _make(path, engine)
    mapping = engine(path, write=write)
    try:
        mapping.prepare(create=create)
        mapping.is_new |= made
    except BaseException:
        mapping.close()
        raise
    return mapping


def _make(path: Path, engine: type[Mapping]) -> None:
    """Make an empty mapping, which is whole or not there: of half a database no engine makes anything."""
    with whole_database(path) as part:
        with engine(part, write=True) as mapping:
            mapping.prepare(create=True)
        try:
            os.link(part, path)
        except FileExistsError:
            pass  # another process has made it meanwhile
        except OSError:  # a file system without links
            os.rename(part, path)


@contextmanager
def whole_database(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` for a database that is to become it; what is left there goes when the block ends.

    Raises:
        DatasetError: the place cannot be written.
    """
    part = path.with_name(f".{path.stem}.{os.uname().nodename}.{os.getpid()}{path.suffix}")
    try:
        yield part
    except OSError as error:
        raise explain_os_error(error, path) from error
    finally:
        for rest in (part, *part.parent.glob(f"{glob.escape(part.name)}?*")):  # and its log, where it was stopped
            with suppress(OSError):
                rest.unlink()


def engine_of(path: Path) -> str:
    """Return the engine that a mapping's suffix chooses, "duckdb" or "sqlite".

    Raises:
        UsageError: no engine has this suffix.
    """
    engine = _ENGINES.get(path.suffix)
    if engine is None:
        raise UsageError(f"{path}: the suffix chooses the database engine: end it in {', '.join(_ENGINES)}")
    return engine


def _load_engine(name: str) -> type[Mapping]:
    if name == "duckdb":
        from shardforge.mapping.duckdb import DuckDBMapping

        return DuckDBMapping
    from shardforge.mapping.sqlite import SQLiteMapping

    return SQLiteMapping


def _check_place(path: Path, *, write: bool, create: bool) -> None:
    require_text(path)
    if path.is_dir():
        raise UsageError(f"{path}: is a directory; --db names the database file")
    if path.exists():
        if not path.is_file():  # a pipe, which would be waited for without end, or a device
            raise MappingMissingError(f"{path}: neither a file nor a link to one; give --db another name")
    elif path.is_symlink():
        raise MappingMissingError(
            f"{path}: a link to {os.readlink(path)}, which is not there; mend the link, or give --db another name"
        )
    else:
        if not create:
            raise MappingMissingError(
                f"{path}: no such mapping; run `shardforge map --db {shlex.quote(str(path))} --source NAME=KIND:ROOT` "
                "first"
            )
        if not path.parent.is_dir():
            raise UsageError(f"{path}: the folder {path.parent} does not exist; make it first")
    if write:
        # Both engines also make files beside the database: a journal, a write-ahead log, temporary space.
        for place in (path, path.parent):
            if place.exists() and not _may(place, os.W_OK):
                raise explain_os_error(OSError(errno.EACCES, os.strerror(errno.EACCES)), place)
    elif not _may(path, os.R_OK):
        raise MappingError(f"{path}: not readable (permission denied); ask its owner for read permission")


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
