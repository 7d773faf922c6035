"""Scanned records on their way into the tables `images` and `notes`."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from shardforge.mapping.base import Mapping
from shardforge.records import NOTE

# Large inserts load several times faster than small ones; what is held here is lost when the machine fails.
_MOST_ROWS = 500_000
_MOST_BYTES = 256 << 20
_MOST_SECONDS = 30.0


class RecordBuffer:
    """Collects records and writes many in one transaction; a mapped key gets a new row for its old one."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()  # what was read before an error or Ctrl-C is kept

    def add(self, scanned: pa.Table, *, replace: bool) -> None:
        """Take records of `scan_schema()`; `replace` says that their keys are in the mapping already."""
        noted = scanned.select(["key", NOTE])
        self._notes.append(noted.filter(pc.is_valid(noted[NOTE])))
        records = scanned.drop_columns([NOTE])
        self._records.append(records)
        self._rows += records.num_rows
        self._bytes += records.nbytes
        if replace:
            self._replaced.append(records.select(["key"]))
        late = time.monotonic() - self._written >= _MOST_SECONDS
        if self._rows >= _MOST_ROWS or self._bytes >= _MOST_BYTES or late:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        if self._rows:
            with self._mapping.transaction():
                if self._replaced:
                    self._delete(pa.concat_tables(self._replaced))
                self._mapping.insert("images", pa.concat_tables(self._records).combine_chunks())
                if (notes := pa.concat_tables(self._notes)).num_rows:
                    self._mapping.insert("notes", notes)
        self._clear()

    def _delete(self, keys: pa.Table) -> None:
        self._mapping.execute("DELETE FROM replaced")
        self._mapping.insert("replaced", keys)
        self._mapping.execute("DELETE FROM images WHERE key IN (SELECT key FROM replaced)")
        self._mapping.execute("DELETE FROM notes WHERE dataset IS NULL AND key IN (SELECT key FROM replaced)")

    def _clear(self) -> None:
        self._records: list[pa.Table] = []
        self._notes: list[pa.Table] = []
        self._replaced: list[pa.Table] = []
        self._rows = self._bytes = 0
        self._written = time.monotonic()
