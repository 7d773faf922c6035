"""Rows of results as a file: Parquet or JSON lines, written as they come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shardforge.errors import UsageError
from shardforge.files import atomic_write

SUFFIXES = (".parquet", ".jsonl")

Write = Callable[[pa.Table], None]


def check_row_file(path: str | Path | None, option: str) -> None:
    """Refuse a name whose suffix tells no format.

    Raises:
        UsageError: it does not.
    """
    if path is not None and Path(path).suffix not in SUFFIXES:
        raise UsageError(f"{option} {path}: give a name that ends in {' or '.join(SUFFIXES)}, which tells the format")


@contextmanager
def open_row_file(path: Path, schema: pa.Schema, *, group_rows: int = 65_536) -> Iterator[Write]:
    """Yield a function that appends a table to the file, which is there, whole, when the block ends.

    `group_rows` are collected before they are written to Parquet.
    """
    with atomic_write(path) as file:
        if path.suffix == ".jsonl":
            yield lambda table: file.writelines(json.dumps(row).encode() + b"\n" for row in table.to_pylist())
            return
        with pq.ParquetWriter(file, schema, write_page_checksum=True) as writer:
            groups = _Groups(writer, schema, group_rows)
            yield groups.add
            groups.flush()


class _Groups:
    """Collects tables to row groups of a useful size."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema, size: int) -> None:
        self._writer, self._schema, self._size = writer, schema, size
        self._tables: list[pa.Table] = []
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._rows += len(table)
        if self._rows >= self._size:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.concat_tables(self._tables).cast(self._schema))
        self._tables, self._rows = [], 0
