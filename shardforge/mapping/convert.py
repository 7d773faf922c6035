"""A mapping copied into a new file: of the other engine, or of the form that every release of its engine reads."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shardforge.errors import MappingError, UsageError
from shardforge.files import sync_file, sync_folder
from shardforge.mapping import engine_of, open_mapping, whole_database
from shardforge.mapping.base import Mapping
from shardforge.mapping.update import index_images

#: Who made the file is another answer for the copy.
_OWN = "mapping_info"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Copied:
    """The rows of each table that was copied, and the tables and columns that no mapping has and that were not."""

    rows: dict[str, int]
    left: list[str]


def convert_mapping(old: Path, new: Path, *, progress: Progress = lambda stage, done, total: None) -> Copied:
    """Copy the mapping `old` into the file `new`, whose suffix chooses the engine; `new` is whole or not there.

    The copy is compared with `old`, table by table: the rows, and of each column the values and their ends.

    Raises:
        UsageError: `new` exists, or its place does not.
        MappingError: `old` cannot be read, or the copy is not what it should be.
        DatasetError: the place cannot be written.
    """
    engine_of(new)
    if os.path.lexists(new):
        raise UsageError(f"{new}: exists; give --convert a new name, or move the file away")
    if not new.absolute().parent.is_dir():
        raise UsageError(f"{new}: the folder {new.parent} does not exist; make it first")
    with whole_database(new) as part:
        with open_mapping(old) as source, open_mapping(part, write=True, create=True) as target:
            copied = _copy(source, target, progress)
        sync_file(part)
        os.rename(part, new)
        sync_folder(new.absolute().parent)
    return copied


def _copy(source: Mapping, target: Mapping, progress: Progress) -> Copied:
    there = _list_columns(source)
    if "perceptual_hashes" in there:
        target.execute(target.query("create_duplicates"))
    wanted = _list_columns(target)
    rows = {}
    for table in sorted(wanted.keys() & there.keys() - {_OWN}):
        columns = [column for column in wanted[table] if column in there[table]]
        rows[table] = _copy_table(source, target, table, columns, progress)
    index_images(target)
    return Copied(rows, sorted(_list_left(there, wanted)))


def _copy_table(source: Mapping, target: Mapping, table: str, columns: list[str], progress: Progress) -> int:
    """Copy one table and return its rows, once they are those of `source`."""
    names = ", ".join(f'"{column}"' for column in columns)
    expected = _measure(source, table, columns)
    done = 0
    with target.transaction():
        for batch in source.batches(f"SELECT {names} FROM {table}"):
            target.insert(table, batch)
            done += batch.num_rows
            progress(table, done, expected[0])
    found = _measure(target, table, columns)
    if found != expected:
        raise MappingError(
            f"{source.path}: the copy of its table {table} differs from it ({found} where {expected} was expected); "
            "nothing was kept: run it again, and report it if it happens again"
        )
    return done


def _measure(mapping: Mapping, table: str, columns: list[str]) -> tuple[int, ...]:
    """Return how many rows a table has, and of each column how many values, the least and the greatest."""
    ends = "".join(f', count("{column}"), min("{column}"), max("{column}")' for column in columns)
    [row] = mapping.rows(f"SELECT count(*){ends} FROM {table}")
    return row


def _list_columns(mapping: Mapping) -> dict[str, list[str]]:
    tables = defaultdict(list)
    for table, column in mapping.columns():
        tables[table].append(column)
    return dict(tables)


def _list_left(there: dict[str, list[str]], wanted: dict[str, list[str]]) -> list[str]:
    left = [f"the table {table}" for table in there.keys() - wanted.keys()]
    for table in there.keys() & wanted.keys():
        left += [f"the column {table}.{column}" for column in there[table] if column not in wanted[table]]
    return left
