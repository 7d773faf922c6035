"""Metadata that lies beside the images: a table whose rows are joined to the records of any source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.errors import UsageError
from shardforge.paths import path_to_text
from shardforge.records import DESCRIPTIVE, RANKS
from shardforge.sources.columns import as_text, describe, dump_metadata, load_metadata_cell
from shardforge.sources.reading import MEMBER_MARK
from shardforge.sources.row_file import RowFile
from shardforge.sources.table_file import Columns, read_table

#: Columns of a record that a table may be joined on; any other column holds paths, file names or stems.
JOINED_BY_VALUE = frozenset({"key", "label", "group_id", *RANKS, "url"})

_NO_ROW = -1
_SCHEMA = pa.schema(
    [("value", pa.string()), ("value_hash", pa.int64()), ("row_hash", pa.int64())]
    + [(name, pa.string()) for name in DESCRIPTIVE]
)


class Metadata:
    """The rows of a metadata file by the value that joins them, and counts of what was joined so far.

    The rows lie in a file; memory holds 17 bytes of each: a hash of its value, its number, and whether it was used.

    Attributes:
        on: The column of the file that is compared.
        columns: The descriptive columns in which the file says something.
        matched: Records that a row was joined to.
    """

    def __init__(self, on: str, rows: RowFile, numbers: np.ndarray, without_value: int) -> None:
        self.on = on
        self.columns = [name for name in DESCRIPTIVE if (column := rows.column(name)).null_count < len(column)]
        self.matched = 0
        self._rows = rows
        self._hashes = rows.column("value_hash").to_numpy()[numbers]
        self._numbers = numbers
        self._used = np.zeros(len(numbers), dtype=bool)
        self._without_value = without_value

    @property
    def unmatched(self) -> int:
        """Rows of the file that matched no record so far; rows without a value in `on` never do."""
        return int(np.count_nonzero(~self._used)) + self._without_value

    def match(self, batch: pa.Table) -> tuple[np.ndarray, pa.Table]:
        """Return which records have a row, and `columns` of the rows of those that have one; count them."""
        if self.on in JOINED_BY_VALUE:
            places = self._find(batch[self.on].to_pylist())
        else:
            places = self._find_paths(batch["path"].to_pylist())
        found = places != _NO_ROW
        hits = places[found]
        self._used[hits] = True
        self.matched += len(hits)
        return found, self._rows.take(self._numbers[hits], self.columns)

    def _find_paths(self, paths: Sequence[str]) -> np.ndarray:
        """Find each path, else its file name, else its stem."""
        places = self._find(paths)
        for shorten in (_file_name, _stem):
            missing = np.flatnonzero(places == _NO_ROW)
            places[missing] = self._find([shorten(paths[i]) for i in missing.tolist()])
        return places

    def _find(self, values: Sequence[str | None]) -> np.ndarray:
        """Return the place of each value among the hashes, -1 where there is none."""
        places = np.full(len(values), _NO_ROW)
        hashes = np.fromiter(map(hash, values), np.int64, len(values))
        nearest = np.searchsorted(self._hashes, hashes)
        nearest[nearest == len(self._hashes)] = _NO_ROW
        alike = np.flatnonzero(self._hashes[nearest] == hashes) if len(self._hashes) else places[:0]
        stored = self._rows.take(self._numbers[nearest[alike]], ["value"])["value"].to_pylist()
        hits = alike[[value == values[i] for value, i in zip(stored, alike.tolist(), strict=True)]]
        places[hits] = nearest[hits]
        return places


def load_metadata(file: Path, on: str) -> Metadata:
    """Read a table (CSV, TSV, JSON Lines or Parquet) to join to records by its column `on`.

    Raises:
        UsageError: there is no such file or column, or two different rows have the same value in it.
        SourceError: the file is not a table.
        DatasetError: there is no room for it in the folder for temporary files.
    """
    if not file.is_file():
        raise UsageError(f"--metadata {file}: no such file; name a table of metadata")
    rows = RowFile((_make_batch(file, columns, on) for columns in read_table(file)), _SCHEMA)
    values, hashes, contents = (rows.column(name) for name in ("value", "value_hash", "row_hash"))
    numbers = np.flatnonzero(values.is_valid())
    numbers = numbers[np.argsort(hashes.to_numpy()[numbers], kind="stable")]
    ordered, contents = hashes.to_numpy()[numbers], contents.to_numpy()[numbers]
    again = np.concatenate([[False], ordered[1:] == ordered[:-1]])[: len(numbers)]
    different = np.flatnonzero(again[1:] & (contents[1:] != contents[:-1]))
    if len(different):
        value = values[int(numbers[different[0]])].as_py()
        raise UsageError(f"--metadata {file}: two different rows have {value!r} in column {on!r}; keep one")
    return Metadata(on, rows, numbers[~again], len(values) - len(numbers))


def join_metadata(batch: pa.Table, metadata: Metadata) -> pa.Table:
    """Return a batch of records in which what `metadata` says fills and overrides the descriptive columns.

    The JSON objects in the column `metadata` are merged.
    """
    found, rows = metadata.match(batch)
    joined = rows.take(pa.array(np.cumsum(found) - 1, mask=~found)) if found.any() else rows
    for name in joined.column_names if found.any() else ():
        old, new = batch[name], joined[name]
        values = _merge_objects(old, new) if name == "metadata" else pc.coalesce(new, old)
        batch = batch.set_column(batch.column_names.index(name), batch.schema.field(name), values)
    return batch


def _make_batch(file: Path, columns: Columns, on: str) -> pa.RecordBatch:
    """Return the rows of a part of the table, described, with the value that joins them and what tells them apart."""
    values = _read_values(file, columns, on)
    described = describe(columns, len(values))
    texts = [values, *(described.get(name, [None] * len(values)) for name in DESCRIPTIVE)]
    hashes = [list(map(hash, values)), list(map(hash, zip(*texts, strict=True)))]
    arrays = [pa.array(numbers, pa.int64()) for numbers in hashes]
    value, *described_arrays = (pa.array(column, pa.string()) for column in texts)
    return pa.RecordBatch.from_arrays([value, *arrays, *described_arrays], schema=_SCHEMA)


def _read_values(file: Path, columns: Columns, on: str) -> list[str | None]:
    """Return the values to join by as text; those that are no column of a record are taken out of the columns."""
    if on not in columns:
        raise UsageError(
            f"--metadata {file}: there is no column {on!r}; give --on one of {', '.join(columns) or 'none'}"
        )
    if on in JOINED_BY_VALUE:
        values = columns[on] if on in DESCRIPTIVE else columns.pop(on)
        return [as_text(value) for value in values]
    return [_path_text(value) for value in columns.pop(on)]


def _path_text(value: object) -> str | None:
    text = as_text(value)
    return None if text is None else path_to_text(value if isinstance(value, str) else text)


def _file_name(path: str) -> str:
    return path.rpartition(MEMBER_MARK)[2].rpartition("/")[2]


def _stem(path: str) -> str:
    return os.path.splitext(_file_name(path))[0]


def _merge_objects(old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.Array:
    pairs = zip(old.to_pylist(), new.to_pylist(), strict=True)
    merged = [a if b is None else b if a is None else _merge(a, b) for a, b in pairs]
    return pa.array(merged, pa.string())


def _merge(old: str, new: str) -> str | None:
    return dump_metadata(load_metadata_cell(old) | load_metadata_cell(new))
