"""Metadata that lies beside the images: a table whose rows are joined to the records of any source."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.errors import UsageError
from shardforge.paths import path_to_text
from shardforge.records import DESCRIPTIVE, RANKS
from shardforge.sources.columns import as_text, describe, dump_metadata, load_metadata_cell
from shardforge.sources.reading import MEMBER_MARK
from shardforge.sources.table_file import Columns, read_table

#: Columns of a record that a table may be joined on; any other column holds paths, file names or stems.
JOINED_BY_VALUE = frozenset({"key", "label", "group_id", *RANKS, "url"})

_NO_ROW = -1


class Metadata:
    """The rows of a metadata file by the value that joins them, and counts of what was joined so far.

    Attributes:
        on: The column of the file that is compared.
        matched: Records that a row was joined to.
    """

    def __init__(self, on: str, rows: dict[str, int], table: pa.Table, without_value: int) -> None:
        self.on = on
        self.matched = 0
        self.table = table
        self._rows = rows
        self._without_value = without_value
        self._used = np.zeros(len(rows), dtype=bool)

    @property
    def unmatched(self) -> int:
        """Rows of the file that matched no record so far; rows without a value in `on` never do."""
        return int(np.count_nonzero(~self._used)) + self._without_value

    def match(self, batch: pa.Table) -> np.ndarray:
        """Return the row of `table` for each record, -1 where there is none, and count."""
        if self.on in JOINED_BY_VALUE:
            found = [self._rows.get(value, _NO_ROW) for value in batch[self.on].to_pylist()]
        else:
            found = [self._match_path(path) for path in batch["path"].to_pylist()]
        rows = np.array(found, dtype=np.int64)
        hits = rows[rows != _NO_ROW]
        self._used[hits] = True
        self.matched += len(hits)
        return rows

    def _match_path(self, path: str) -> int:
        """Return the row for a record's path, else for its file name, else for its stem."""
        row = self._rows.get(path)
        if row is None:
            name = path.rpartition(MEMBER_MARK)[2].rpartition("/")[2]
            row = self._rows.get(name)
            if row is None:
                row = self._rows.get(os.path.splitext(name)[0], _NO_ROW)
        return row


def load_metadata(file: Path, on: str) -> Metadata:
    """Read a table (CSV, TSV, JSON Lines or Parquet) to join to records by its column `on`.

    Raises:
        UsageError: there is no such file or column, or two different rows have the same value in it.
        SourceError: the file is not a table.
    """
    if not file.is_file():
        raise UsageError(f"--metadata {file}: no such file; name a table of metadata")
    by_value = on in JOINED_BY_VALUE
    index: dict[str, int] = {}
    rows: list[tuple[str | None, ...]] = []
    without_value = 0
    for columns in read_table(file):
        values = _read_values(file, columns, on, keep=by_value)
        for value, row in zip(values, _read_rows(columns, len(values)), strict=True):
            if value is None:
                without_value += 1
                continue
            first = index.setdefault(value if by_value else path_to_text(value), len(rows))
            if first == len(rows):
                rows.append(row)
            elif rows[first] != row:
                raise UsageError(f"--metadata {file}: two different rows have {value!r} in column {on!r}; keep one")
    return Metadata(on, index, _make_table(rows), without_value)


def join_metadata(batch: pa.Table, metadata: Metadata) -> pa.Table:
    """Return a batch of records in which what `metadata` says fills and overrides the descriptive columns.

    The JSON objects in the column `metadata` are merged.
    """
    rows = metadata.match(batch)
    missing = rows == _NO_ROW
    if missing.all() or not metadata.table.num_columns:
        return batch
    joined = metadata.table.take(pa.array(rows, mask=missing))
    for name in joined.column_names:
        old, new = batch[name], joined[name]
        values = _merge_objects(old, new) if name == "metadata" else pc.coalesce(new, old)
        batch = batch.set_column(batch.column_names.index(name), batch.schema.field(name), values)
    return batch


def _read_values(file: Path, columns: Columns, on: str, *, keep: bool) -> list[str | None]:
    """Return the values to join by as text; without `keep` the column is no part of the metadata."""
    if on not in columns:
        raise UsageError(
            f"--metadata {file}: there is no column {on!r}; give --on one of {', '.join(columns) or 'none'}"
        )
    values = columns[on] if keep and on in DESCRIPTIVE else columns.pop(on)
    return [as_text(value) for value in values]


def _read_rows(columns: Columns, count: int) -> Iterable[tuple[str | None, ...]]:
    """Return the values of `DESCRIPTIVE` for each row."""
    found = describe(columns, count)
    return zip(*(found.get(name, [None] * count) for name in DESCRIPTIVE), strict=True)


def _make_table(rows: Sequence[tuple[str | None, ...]]) -> pa.Table:
    """Return the rows as a table of those descriptive columns that have a value."""
    columns = list(zip(*rows, strict=True)) or [()] * len(DESCRIPTIVE)
    arrays = {name: pa.array(values, pa.string()) for name, values in zip(DESCRIPTIVE, columns, strict=True)}
    return pa.table({name: array for name, array in arrays.items() if array.null_count < len(array)})


def _merge_objects(old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.Array:
    pairs = zip(old.to_pylist(), new.to_pylist(), strict=True)
    merged = [a if b is None else b if a is None else _merge(a, b) for a, b in pairs]
    return pa.array(merged, pa.string())


def _merge(old: str, new: str) -> str | None:
    return dump_metadata(load_metadata_cell(old) | load_metadata_cell(new))
