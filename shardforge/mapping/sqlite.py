"""The mapping in SQLite: one plain file that every tool can read."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext, suppress
from itertools import islice, repeat
from typing import Any

import pyarrow as pa

from shardforge.errors import MappingError, ShardforgeError
from shardforge.files import explain_os_error
from shardforge.mapping.base import BATCH_ROWS, MEND, Answer, Mapping, Statement, locate
from shardforge.mapping.lock import explain_lock
from shardforge.mapping.signs import explain_foreign_file
from shardforge.records import record_schema

_OLDEST = (3, 39, 0)  # IS DISTINCT FROM, FULL JOIN
_CACHE_KIB = 512 << 10
_WAIT_SECONDS = 2.0
_STEPS_TO_SIGNALS = 1_000_000

# One writer alone, as in DuckDB. A rollback journal and not a write-ahead log, which network file systems cannot share.
_WRITER = f"""
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = DELETE;
PRAGMA synchronous = NORMAL;
PRAGMA cache_size = -{_CACHE_KIB};
BEGIN EXCLUSIVE;
COMMIT;
"""
_READER = f"PRAGMA cache_size = -{_CACHE_KIB}; SELECT count(*) FROM sqlite_schema"


#: What a confined statement may do, beside reading and what happens to temporary tables.
_READING = {
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_TRANSACTION,
}
_INFORMING = re.compile(r"\w+_(info|list)|(integrity|quick)_check|compile_options|page_count|page_size|encoding")

#: Text that SQLite runs as no statement.
_NOTHING = re.compile(r"--[^\n]*|/\*.*?\*/|[\s;]", re.DOTALL)

#: sha256 raises nothing of its own: what stopped it is Ctrl-C.
_STOPPED_FUNCTION = "user-defined function raised exception"


class SQLiteMapping(Mapping):
    """A mapping in a SQLite file. Temporary tables that outgrow the cache go to SQLITE_TMPDIR, or else /var/tmp."""

    engine = "sqlite"
    errors = sqlite3.Error

    def index(self, table: str, column: str, *, unique: bool = False) -> None:
        """Make looking `column` up fast."""
        kind = "UNIQUE INDEX" if unique else "INDEX"
        self.execute(f"CREATE {kind} IF NOT EXISTS {table}_{column} ON {table} ({column})")

    def confine(self) -> None:
        """Let statements read this database alone from now on: no other file or address, and nothing is written."""
        self._connection.execute("PRAGMA trusted_schema = OFF")
        self._connection.set_authorizer(_may_run)
        # A question makes any bytes a text: they are shown, and no damage of the file.
        self._connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")

    def split(self, script: str) -> list[Statement]:
        """Return the statements of a script."""
        found, start = [], 0
        for text in _statements(script):
            if _NOTHING.sub("", text):
                found.append(locate(script, start, start + len(text), text))
            start += len(text)
        return found

    def answer(self, statement: Statement, values: dict[str, str]) -> Answer | None:
        """Run a statement with the `values` that it names; None where it asks for nothing. Rows stream."""
        cursor = self._connection.execute(statement.run, values)
        if cursor.description is None:
            return None
        return Answer([column[0] for column in cursor.description], iter(cursor.fetchone, None))

    def close(self) -> None:
        """Close the database and give its lock back."""
        self._connection.close()

    def _open(self, *, write: bool) -> None:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise MappingError(
                f"{self.path}: this Python has SQLite {sqlite3.sqlite_version}, a mapping needs 3.39 or later; "
                "use another Python, or a .duckdb mapping"
            )
        if not write:
            self._roll_back_killed()
        place = f"{self.path.absolute().as_uri()}?mode={'rwc' if write else 'ro'}"
        self._connection = sqlite3.connect(place, uri=True, isolation_level=None, timeout=_WAIT_SECONDS)
        self._connection.create_function("sha256", 1, _sha256, deterministic=True)
        # Between calls back into Python no signal is heeded, and a statement may run for minutes.
        self._connection.set_progress_handler(_heed_signals, _STEPS_TO_SIGNALS)
        try:
            self._execute(_WRITER if write else _READER, {})
        except sqlite3.Error:
            self.close()
            raise

    def _roll_back_killed(self) -> None:
        """Undo what a killed writer had half done, which a reader may not do; where this user cannot, it says so."""
        if os.path.exists(f"{self.path}-journal"):
            place = f"{self.path.absolute().as_uri()}?mode=rw"
            with suppress(sqlite3.Error), closing(sqlite3.connect(place, uri=True, timeout=0)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()

    def _execute(self, sql: str, values: dict[str, Any]) -> None:
        for statement in [sql] if values else _statements(sql):
            self._connection.execute(statement, values)

    def _fetch(self, sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    def _stream(self, sql: str, size: int, values: dict[str, Any]) -> Iterator[pa.Table]:
        with closing(self._connection.execute(sql, values)) as cursor:
            names = [column[0] for column in cursor.description]
            while rows := cursor.fetchmany(size):
                yield pa.table(list(map(_column, names, zip(*rows, strict=True))), names=names)

    def _insert(self, table: str, rows: pa.Table) -> None:
        names = ", ".join(f'"{name}"' for name in rows.column_names)
        marks = ", ".join("?" * rows.num_columns)
        # Without a transaction SQLite would sync the disk after every row.
        with nullcontext() if self._connection.in_transaction else self.transaction():
            for batch in rows.to_batches(max_chunksize=BATCH_ROWS):
                self._connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", _tuples(batch))

    def columns(self) -> list[tuple[Any, ...]]:
        """Return (table, column) for all columns in the file."""
        return self.rows(
            "SELECT t.name, c.name FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table'"
        )

    def _rollback(self) -> None:
        if self._connection.in_transaction:  # a full disk ends it by itself
            self._connection.execute("ROLLBACK")

    def _explain(self, error: Exception) -> ShardforgeError | KeyboardInterrupt | None:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_INTERRUPT" or str(error) == _STOPPED_FUNCTION:
            return KeyboardInterrupt()
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return explain_lock(self.path)
        if name == "SQLITE_NOTADB":
            return explain_foreign_file(self.path, self.engine)
        if name == "SQLITE_READONLY_ROLLBACK":
            return MappingError(
                f"{self.path}: was interrupted while being written; run `shardforge map --db {self.path}` to go on"
            )
        if name == "SQLITE_FULL":
            return explain_os_error(OSError(errno.ENOSPC, str(error)), self.path)
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_CONSTRAINT")) or str(error).startswith("Could not decode"):
            return MappingError(f"{self.path}: damaged ({error}); {MEND}")
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_READONLY")):
            return MappingError(f"{self.path}: {error} ({name})")
        return None


def _may_run(action: int, first: str | None, second: str | None, database: str | None, source: str | None) -> int:
    """Tell SQLite whether a confined statement may do this; see sqlite3_set_authorizer for what the texts are."""
    if action == sqlite3.SQLITE_PRAGMA:
        allowed = bool(_INFORMING.fullmatch((first or "").lower()))
    elif action in (sqlite3.SQLITE_CREATE_VTABLE, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH):
        allowed = False
    else:
        loading = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() == "load_extension"
        allowed = (database == "temp" or action in _READING) and not loading
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _heed_signals() -> None:
    """Do nothing; that Python code runs is when Python heeds signals. An exception here stops the statement."""


def _sha256(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of `script`, together all of it; `executescript` would end an open transaction."""
    statement = ""
    for piece in re.findall(r"[^;]*;|[^;]+$", script):
        statement += piece
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement:
        yield statement


def _tuples(batch: pa.RecordBatch) -> Iterable[tuple[Any, ...]]:
    # islice: zip ends with its shortest column, and a batch may be all nulls
    columns = (repeat(None) if column.null_count == len(column) else column.to_pylist() for column in batch.columns)
    return islice(zip(*columns, strict=False), batch.num_rows)


def _column(name: str, values: tuple[Any, ...]) -> pa.Array:
    """Return an Arrow column; columns of a record have their declared type, others that of their values."""
    schema = record_schema()
    if name in schema.names:
        return pa.array(values, schema.field(name).type)
    column = pa.array(values)
    return column.cast(pa.string()) if pa.types.is_null(column.type) else column
