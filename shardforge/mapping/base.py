"""What both engines promise: the same tables, the same statements, the same parameters."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from shardforge import __version__
from shardforge.errors import MappingError, MappingMissingError, ShardforgeError, UsageError
from shardforge.queries import load_query

if TYPE_CHECKING:
    import pyarrow as pa

#: Version of the tables in sql/schema.sql; a mapping of another version is refused.
SCHEMA_VERSION = 2

BATCH_ROWS = 65_536
#: Rows of an answer that are fetched at once.
ANSWER_ROWS = 1_000

#: What to do about a damaged file.
MEND = "restore a copy of the file, or map the sources again into a new one"

_SHOWN = 40
#: What the bindings of DuckDB say of text with half a surrogate pair, by their age.
_NO_TEXT = re.compile("cannot encode str as UTF-8|Unable to cast Python instance of type <class 'str'>")
_TABLE = re.compile(r"^CREATE TABLE (\w+) \((.*?)^\)", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(r'^ +"?(\w+)"?', re.MULTILINE)

#: Tables that came after mappings of this schema version had been written.
_LATER = frozenset({"notes"})


class Statement(NamedTuple):
    """A statement of a script: where its text starts, the lines that it stands on, from 1, and what the engine runs."""

    start: int
    first: int
    last: int
    run: Any


def locate(script: str, start: int, end: int, run: Any) -> Statement:
    """Return the statement that `script` holds between two positions; blank lines around it do not count."""
    text = script[start:end]
    line = script.count("\n", 0, start) + 1
    blank = text[: len(text) - len(text.lstrip())].count("\n")
    return Statement(line, line + blank, max(line + text.rstrip().count("\n"), line + blank), run)


class Answer(NamedTuple):
    """What a statement gives: the names of its columns, and its rows, to be read before the next statement runs."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]


class Mapping(ABC):
    """An open mapping database; closes when its `with` block ends, and goes again when that fails before it is filled.

    Statements use `$name` parameters and the SQL that DuckDB and SQLite share; `sha256(text)` gives 64 lower-case hex
    digits in both. Sums and counts of more than one engine agree when they are cast (`CAST(sum(x) AS BIGINT)`).
    """

    engine: ClassVar[str]
    #: What the engine raises.
    errors: ClassVar[type[Exception]]

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        self.writes = write
        self.is_new = False
        with self.explained():
            self._open(write=write)

    def execute(self, sql: str, **values: Any) -> None:
        """Run one statement; or several, separated by semicolons, when there are no values."""
        with self.explained():
            self._execute(sql, values)

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a small result."""
        with self.explained():
            return self._fetch(sql, values)

    def batches(self, sql: str, *, size: int = BATCH_ROWS, **values: Any) -> Iterator[pa.Table]:
        """Yield a result of any size, `size` rows at a time, with bounded memory.

        Read it to the end before the next statement: an engine may hold one open result only.
        """
        with self.explained():
            yield from self._stream(sql, size, values)

    def insert(self, table: str, rows: pa.Table) -> None:
        """Append `rows` to `table`, columns by name; columns that `rows` lacks become NULL."""
        with self.explained():
            self._insert(table, rows)

    @abstractmethod
    def index(self, table: str, column: str, *, unique: bool = False) -> None:
        """Make looking `column` up fast, where the engine needs an index for that."""

    @abstractmethod
    def confine(self) -> None:
        """Let statements read this database alone from now on: no other file or address, and nothing is written."""

    @abstractmethod
    def split(self, script: str) -> list[Statement]:
        """Return the statements of a script."""

    @abstractmethod
    def answer(self, statement: Statement, values: dict[str, str]) -> Answer | None:
        """Run a statement with the `values` that it names; None where it asks for nothing. Rows stream."""

    @abstractmethod
    def close(self) -> None:
        """Close the database and give its lock back."""

    @abstractmethod
    def _open(self, *, write: bool) -> None: ...

    @abstractmethod
    def _execute(self, sql: str, values: dict[str, Any]) -> None: ...

    @abstractmethod
    def _fetch(self, sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]: ...

    @abstractmethod
    def _stream(self, sql: str, size: int, values: dict[str, Any]) -> Iterator[pa.Table]: ...

    @abstractmethod
    def _insert(self, table: str, rows: pa.Table) -> None: ...

    @abstractmethod
    def columns(self) -> list[tuple[Any, ...]]:
        """Return (table, column) for all columns in the file."""

    @abstractmethod
    def _rollback(self) -> None:
        """Undo the open transaction, if there still is one."""

    @abstractmethod
    def _explain(self, error: Exception) -> ShardforgeError | KeyboardInterrupt | None:
        """Return the sentence for an error that is the user's to act on; None for a mistake in a statement.

        An engine may report Ctrl-C in the middle of a statement as an error of its own: then a KeyboardInterrupt.
        """

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise the sentence for what the engine raises in the block; a mistake in a statement passes through."""
        try:
            yield
        except Exception as error:
            if isinstance(error, UnicodeEncodeError) or _NO_TEXT.search(str(error)):
                raise UsageError(
                    f"a name is no UTF-8 text, which a database cannot hold ({error}); rename it"
                ) from error
            explained = self._explain(error)
            if explained is None:
                raise
            raise explained from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all of the block's changes when it ends, and none when it raises."""
        self.execute("BEGIN")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            self._rollback()
            raise

    def parse_object(self, text: str, column: str) -> dict[str, Any]:
        """Return the JSON object that a cell of `column` (as TABLE.COLUMN) holds.

        Raises:
            MappingError: it holds something else.
        """
        try:
            value = json.loads(text)
        except (TypeError, ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            found = repr(text)[:_SHOWN]
            raise MappingError(f"{self.path}: {column} holds {found} where a JSON object is expected; {MEND}")
        return value

    def query(self, name: str) -> str:
        """Return the text of `sql/NAME.ENGINE.sql` where this engine has its own, else of `sql/NAME.sql`."""
        try:
            return load_query(f"{name}.{self.engine}")
        except FileNotFoundError:
            return load_query(name)

    def prepare(self, *, create: bool) -> None:
        """Check that the file holds a mapping of this schema version; with `create`, make one in an empty file."""
        if not self.path.exists():  # another process made it, failed, and has just taken it away
            raise MappingError(f"{self.path}: removed while it was opened; run the same command again")
        columns = {f"{table}.{column}" for table, column in self.columns()}
        if create and not columns:
            self.is_new = True
            with self.transaction():
                self.execute(load_query("schema"))
                self.execute(
                    "INSERT INTO mapping_info VALUES ($schema, $tool)", schema=SCHEMA_VERSION, tool=__version__
                )
        elif "mapping_info.schema_version" not in columns:
            raise MappingMissingError(
                f"{self.path}: a database, but no mapping: it has no table mapping_info; "
                "give --db another name, or run `shardforge map` to fill an empty one"
            )
        else:
            self._check_version()
            columns |= self._add_tables(columns)
            self._check_columns(columns)

    def _add_tables(self, columns: set[str]) -> set[str]:
        """Make the tables that mappings of before lack, for this connection alone where it only reads; return them."""
        added = _LATER - {column.partition(".")[0] for column in columns}
        kind = "TABLE" if self.writes else "TEMP TABLE"
        for name, body in _TABLE.findall(load_query("schema")):
            if name in added:
                self.execute(f"CREATE {kind} {name} ({body})")
        return {f"{name}.{column}" for name in added for column in _table_columns()[name]}

    def _check_version(self) -> None:
        found = self.rows("SELECT schema_version, tool_version FROM mapping_info")
        if len(found) != 1:
            raise MappingError(
                f"{self.path}: mapping_info has {len(found)} rows where one is expected, so the schema version is not "
                f"known; {MEND}"
            )
        [(version, tool)] = found
        if version != SCHEMA_VERSION:
            raise MappingError(
                f"{self.path}: a mapping of schema version {version}, made by shardforge {tool}; "
                f"this is shardforge {__version__}, which reads version {SCHEMA_VERSION}: "
                "map the sources again into a new file"
            )

    def _check_columns(self, columns: set[str]) -> None:
        expected = {f"{table}.{column}" for table, names in _table_columns().items() for column in names}
        if missing := sorted(expected - columns):
            more = f" and {len(missing) - 1} more columns" if missing[1:] else ""
            raise MappingError(f"{self.path}: a mapping without the column {missing[0]}{more}; {MEND}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.is_new and self._is_empty():
            self.path.unlink(missing_ok=True)  # before the lock goes: see `prepare`
        self.close()

    def _is_empty(self) -> bool:
        with suppress(Exception):  # the block's error is the one that matters
            return not self._fetch("SELECT 1 FROM sources LIMIT 1", {})
        return False


def _table_columns() -> dict[str, list[str]]:
    """Return table -> its columns, for all tables of sql/schema.sql."""
    return {name: _COLUMN.findall(body) for name, body in _TABLE.findall(load_query("schema"))}
