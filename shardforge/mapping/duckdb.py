"""The mapping in DuckDB: fast loads and counts at any size."""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from shardforge.errors import MappingError, ShardforgeError
from shardforge.executors import count_cores
from shardforge.files import explain_os_error
from shardforge.mapping.base import ANSWER_ROWS, MEND, Answer, Mapping, Statement, locate
from shardforge.mapping.lock import explain_lock
from shardforge.mapping.signs import explain_foreign_file

Result = TypeVar("Result")

#: The path of a mapping that lives in memory alone.
MEMORY = Path(":memory:")

_NAMED_FILE = re.compile(r'file "([^"]+)"')
_MEMORY_BYTES = 3 << 30  # the process needs up to a quarter more than what DuckDB counts
_MAX_THREADS = 8
#: How often a wait for a statement looks for Ctrl-C.
_HEED_SECONDS = 0.1
_NO_SPACE = "No space left"
#: The oldest form, which every DuckDB since 1.0 reads; newer ones make a mapping neither smaller nor faster. A file
#: keeps the form that it was made in.
_STORAGE = "v1.0.0"
#: Of files that are no DuckDB databases; for those of other programs, DuckDB would load an extension.
_FOREIGN = ("not a valid DuckDB", "xtension")
_OTHER_STORAGE = re.compile(r"version number \d+, but we can only read")
#: Where a file names the DuckDB that made it: 32 bytes of text, filled up with NUL.
_MAKER_OFFSET = 52

#: Errors of a statement, not of the file or the machine.
_MISTAKES = (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError, duckdb.PermissionException)

_CONFINED = """
SET enable_external_access = false;
SET python_enable_replacements = false;
SET preserve_insertion_order = true;
SET lock_configuration = true;
"""


class DuckDBMapping(Mapping):
    """A mapping in a DuckDB file. What does not fit in memory goes to the folder PATH.tmp beside it."""

    engine = "duckdb"
    errors = duckdb.Error

    def index(self, table: str, column: str, *, unique: bool = False) -> None:
        """Do nothing: DuckDB joins by hashing, and an index would make loading slow."""

    def confine(self) -> None:
        """Let statements read this database alone from now on: no other file or address, and nothing is written."""
        self._connection.execute(_CONFINED)

    def split(self, script: str) -> list[Statement]:
        """Return the statements of a script."""
        found, start = [], 0
        for statement in duckdb.extract_statements(script):
            start = max(start, script.find(statement.query, start))  # not there where DuckDB has rewritten it
            found.append(locate(script, start, start + len(statement.query), statement))
            start += len(statement.query)
        return found

    def answer(self, statement: Statement, values: dict[str, str]) -> Answer | None:
        """Run a statement with the `values` that it names; None where it asks for nothing. Rows stream."""
        run = statement.run
        given = {name: values[name] for name in run.named_parameters if name in values}
        connection = self._run(self._connection.execute, run, given)
        if run.expected_result_type != [duckdb.ExpectedResultType.QUERY_RESULT] and run.type.name != "MULTI":
            connection.fetchall()
            return None
        return Answer([column[0] for column in connection.description], self._fetch_on(connection))

    def _fetch_on(self, connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
        while rows := self._run(connection.fetchmany, ANSWER_ROWS):
            yield from rows

    def close(self) -> None:
        """Close the database and give its lock back."""
        self._connection.close()

    def _open(self, *, write: bool) -> None:
        memory = min(_MEMORY_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
        config: dict[str, str | bool] = {
            "memory_limit": f"{memory}B",
            "storage_compatibility_version": _STORAGE,
            "autoinstall_known_extensions": False,  # nothing here needs the network
            "autoload_known_extensions": False,
        }
        self._connection = self._connect(read_only=not write, config=config)
        self._connection.execute("SET preserve_insertion_order = false")  # loads need less memory
        self._connection.execute(f"SET threads = {min(count_cores(), _MAX_THREADS)}")

    def _connect(self, **options: Any) -> duckdb.DuckDBPyConnection:
        # Absolute, for `md:` or `s3:` at the beginning of a path would name something far away.
        place = self.path if self.path == MEMORY else self.path.absolute()
        try:
            return duckdb.connect(str(place), **options)
        except duckdb.Error as error:
            if any(sign in str(error) for sign in _FOREIGN):
                raise explain_foreign_file(self.path, self.engine) from error
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

    def columns(self) -> list[tuple[Any, ...]]:
        """Return (table, column) for all columns in the file."""
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
        if _OTHER_STORAGE.search(text):
            return self._explain_storage()
        if _NO_SPACE in text:
            named = _NAMED_FILE.search(text)  # a file of the disk, in a statement of a mapping in memory
            return explain_os_error(OSError(errno.ENOSPC, text), Path(named[1]) if named else self.path)
        if "orrupt" in text or "Could not read enough bytes" in text:
            return MappingError(f"{self.path}: damaged ({text}); {MEND}")
        return MappingError(f"{self.path}: {text}")

    def _explain_storage(self) -> MappingError:
        with open(self.path, "rb") as file:
            file.seek(_MAKER_OFFSET)
            maker = file.read(32).partition(b"\0")[0].decode("ascii", "replace").removeprefix("v")
        return MappingError(
            f"{self.path}: written by {f'DuckDB {maker}' if maker else 'another DuckDB'} in a form that DuckDB "
            f"{duckdb.__version__}, which is installed here, cannot read; install that one, or run `shardforge sql "
            f"{shlex.quote(str(self.path))} --convert NEW.duckdb` where it is installed: all DuckDB read the copy"
        )


def _fulfil(result: Future[Result], function: Callable[..., Result], arguments: tuple[Any, ...]) -> None:
    try:
        result.set_result(function(*arguments))
    except Exception as error:
        result.set_exception(error)
