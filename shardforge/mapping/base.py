"""What both engines promise: the same tables, the same statements, the same parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from shardforge import __version__
from shardforge.errors import MappingError, ShardforgeError
from shardforge.queries import load_query

if TYPE_CHECKING:
    import pyarrow as pa

#: Version of the tables in sql/schema.sql; a mapping of another version is refused.
SCHEMA_VERSION = 1

BATCH_ROWS = 65_536


class Mapping(ABC):
    """An open mapping database; closes when its `with` block ends.

    Statements use `$name` parameters and the SQL that DuckDB and SQLite share; `sha256(text)` gives 64 lower-case hex
    digits in both. Sums and counts of more than one engine agree when they are cast (`CAST(sum(x) AS BIGINT)`).
    """

    engine: ClassVar[str]

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        with self._explained():
            self._open(write=write)

    def execute(self, sql: str, **values: Any) -> None:
        """Run one statement; or several, separated by semicolons, when there are no values."""
        with self._explained():
            self._execute(sql, values)

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a small result."""
        with self._explained():
            return self._fetch(sql, values)

    def batches(self, sql: str, *, size: int = BATCH_ROWS, **values: Any) -> Iterator[pa.Table]:
        """Yield a result of any size, `size` rows at a time, with bounded memory.

        Read it to the end before the next statement: an engine may hold one open result only.
        """
        with self._explained():
            yield from self._stream(sql, size, values)

    def insert(self, table: str, rows: pa.Table) -> None:
        """Append `rows` to `table`, columns by name; columns that `rows` lacks become NULL."""
        with self._explained():
            self._insert(table, rows)

    @abstractmethod
    def index(self, table: str, column: str, *, unique: bool = False) -> None:
        """Make looking `column` up fast, where the engine needs an index for that."""

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
    def _tables(self) -> list[tuple[Any, ...]]:
        """Return the names of the tables in the file."""

    @abstractmethod
    def _rollback(self) -> None:
        """Undo the open transaction, if there still is one."""

    @abstractmethod
    def _explain(self, error: Exception) -> ShardforgeError | None:
        """Return the sentence for an error that is the user's to act on; None for a mistake in a statement."""

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
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

    def query(self, name: str) -> str:
        """Return the text of `sql/NAME.ENGINE.sql` where this engine has its own, else of `sql/NAME.sql`."""
        try:
            return load_query(f"{name}.{self.engine}")
        except FileNotFoundError:
            return load_query(name)

    def prepare(self, *, create: bool) -> None:
        """Check that the file holds a mapping of this schema version; with `create`, make one in an empty file."""
        tables = {name for (name,) in self._tables()}
        if create and not tables:
            with self.transaction():
                self.execute(load_query("schema"))
                self.execute(
                    "INSERT INTO mapping_info VALUES ($schema, $tool)", schema=SCHEMA_VERSION, tool=__version__
                )
        elif "mapping_info" not in tables:
            raise MappingError(
                f"{self.path}: a database, but no mapping: it has no table mapping_info; "
                "give --db another name, or run `shardforge map` to fill an empty one"
            )
        self._check_version()

    def _check_version(self) -> None:
        [(version, tool)] = self.rows("SELECT schema_version, tool_version FROM mapping_info")
        if version != SCHEMA_VERSION:
            raise MappingError(
                f"{self.path}: a mapping of schema version {version}, made by shardforge {tool}; "
                f"this is shardforge {__version__}, which reads version {SCHEMA_VERSION}: "
                f"use shardforge {tool}, or map the sources again into a new file"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
