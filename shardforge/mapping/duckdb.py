"""The mapping in DuckDB: fast loads and counts at any size."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from shardforge.errors import MappingError
from shardforge.files import explain_os_error
from shardforge.mapping.base import BATCH_ROWS, Mapping
from shardforge.mapping.lock import explain_lock

_MEMORY_BYTES = 3 << 30
_MAX_THREADS = 8


class DuckDBMapping(Mapping):
    """A mapping in a DuckDB file. What does not fit in memory goes to the folder PATH.tmp beside it."""

    engine = "duckdb"

    def __init__(self, path: Path, *, write: bool) -> None:
        super().__init__(path, write=write)
        with self._explained():
            self._connection = duckdb.connect(str(path), read_only=not write, config=_config())

    def execute(self, sql: str, **values: Any) -> None:
        with self._explained():
            self._connection.execute(sql, values)

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        with self._explained():
            return self._connection.execute(sql, values).fetchall()

    def batches(self, sql: str, *, size: int = BATCH_ROWS, **values: Any) -> Iterator[pa.Table]:
        with self._explained():
            reader = self._connection.sql(sql, params=values).to_arrow_reader(size)
            with reader:
                for batch in reader:
                    yield pa.Table.from_batches([batch])

    def insert(self, table: str, rows: pa.Table) -> None:
        with self._explained():
            self._connection.register("inserted_rows", rows)
            try:
                self._connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM inserted_rows")
            finally:
                self._connection.unregister("inserted_rows")

    def index(self, table: str, column: str, *, unique: bool = False) -> None:
        """Do nothing: DuckDB joins by hashing, and an index would make loading slow."""

    def close(self) -> None:
        self._connection.close()

    def _tables(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT table_name FROM duckdb_tables() WHERE NOT temporary")

    def _rollback(self) -> None:
        with suppress(duckdb.TransactionException):  # the engine may have ended the transaction itself
            self._connection.execute("ROLLBACK")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the errors that are the user's to act on into sentences; any other is a mistake in a statement."""
        try:
            yield
        except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.ConnectionException) as error:
            text = str(error).splitlines()[0]
            if "Conflicting lock" in text:
                raise explain_lock(self.path, text) from error
            if "not a valid DuckDB" in text:
                raise MappingError(f"{self.path}: not a DuckDB database; give --db another name") from error
            if "No space left" in text:
                raise explain_os_error(OSError(errno.ENOSPC, text), self.path) from error
            raise MappingError(f"{self.path}: {text}") from error


def _config() -> dict[str, str | int | bool]:
    memory = min(_MEMORY_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "memory_limit": f"{memory}B",
        "threads": min(cores, _MAX_THREADS),
        "preserve_insertion_order": False,
    }
