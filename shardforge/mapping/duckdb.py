"""The mapping in DuckDB: fast loads and counts at any size."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from shardforge.errors import MappingError, ShardforgeError
from shardforge.executors import count_cores
from shardforge.files import explain_os_error
from shardforge.mapping.base import MEND, Mapping
from shardforge.mapping.lock import explain_lock

Result = TypeVar("Result")

_MEMORY_BYTES = 3 << 30  # the process needs up to a quarter more than what DuckDB counts
_MAX_THREADS = 8
#: How often a wait for a statement looks for Ctrl-C.
_HEED_SECONDS = 0.1
_NO_SPACE = "No space left"

#: Errors of a statement, not of the file or the machine.
_MISTAKES = (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError)


class DuckDBMapping(Mapping):
    """A mapping in a DuckDB file. What does not fit in memory goes to the folder PATH.tmp beside it."""

    engine = "duckdb"

    def index(self, table: str, column: str, *, unique: bool = False) -> None:
        """Do nothing: DuckDB joins by hashing, and an index would make loading slow."""

    def close(self) -> None:
        """Close the database and give its lock back."""
        self._connection.close()

    def _open(self, *, write: bool) -> None:
        memory = min(_MEMORY_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
        self._connection = self._connect(read_only=not write, config={"memory_limit": f"{memory}B"})
        self._connection.execute("SET preserve_insertion_order = false")  # loads need less memory
        self._connection.execute(f"SET threads = {min(count_cores(), _MAX_THREADS)}")

    def _connect(self, **options: Any) -> duckdb.DuckDBPyConnection:
        is_new = not self.path.exists()
        try:
            return duckdb.connect(str(self.path), **options)
        except duckdb.Error as error:
            if is_new and _NO_SPACE in str(error):  # half a header, which nothing can open
                self.path.unlink(missing_ok=True)
            raise

    def _execute(self, sql: str, values: dict[str, Any]) -> None:
        self._run(self._connection.execute, sql, values)

    def _fetch(self, sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._run(lambda: self._connection.execute(sql, values).fetchall())

    def _stream(self, sql: str, size: int, values: dict[str, Any]) -> Iterator[pa.Table]:
        with self._run(lambda: self._connection.sql(sql, params=values).to_arrow_reader(size)) as reader:
            while (batch := self._run(next, reader, None)) is not None:
                yield pa.Table.from_batches([batch])

    def _insert(self, table: str, rows: pa.Table) -> None:
        self._connection.register("inserted_rows", rows)
        try:
            self._run(self._connection.execute, f"INSERT INTO {table} BY NAME SELECT * FROM inserted_rows")
        finally:
            with suppress(duckdb.Error):  # not the error that matters when the insert has failed
                self._connection.unregister("inserted_rows")

    def _run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call DuckDB in another thread, so that this one heeds Ctrl-C: DuckDB itself looks for signals too rarely."""
        result: Future[Result] = Future()
        thread = Thread(target=_fulfil, args=(result, function, arguments), daemon=True)
        try:
            thread.start()
            while not wait([result], _HEED_SECONDS).done:
                pass  # a wait without end may sleep through a signal that another thread got
            return result.result()
        except KeyboardInterrupt:
            self._connection.interrupt()
            if thread.is_alive():
                thread.join()
            raise

    def _columns(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal")

    def _rollback(self) -> None:
        with suppress(duckdb.Error):  # the engine may have ended the transaction, or have given up the file, itself
            self._connection.execute("ROLLBACK")

    def _explain(self, error: Exception) -> ShardforgeError | None:
        if not isinstance(error, duckdb.Error) or isinstance(error, _MISTAKES):
            return None
        text = str(error).splitlines()[0]
        if "Conflicting lock" in text:
            return explain_lock(self.path, text)
        if "not a valid DuckDB" in text:
            return MappingError(f"{self.path}: not a DuckDB database; give --db another name")
        if _NO_SPACE in text:
            return explain_os_error(OSError(errno.ENOSPC, text), self.path)
        if "orrupt" in text or "Could not read enough bytes" in text:
            return MappingError(f"{self.path}: damaged ({text}); {MEND}")
        return MappingError(f"{self.path}: {text}")


def _fulfil(result: Future[Result], function: Callable[..., Result], arguments: tuple[Any, ...]) -> None:
    try:
        result.set_result(function(*arguments))
    except Exception as error:
        result.set_exception(error)
