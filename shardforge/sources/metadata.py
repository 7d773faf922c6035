"""Metadata that lies beside the images: a table whose rows are joined to the records of any source."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.errors import UsageError, shorten_list
from shardforge.paths import path_from_text, path_to_text
from shardforge.records import DESCRIPTIVE, RANKS
from shardforge.sources.columns import as_text, describe, dump_metadata, load_metadata_cell
from shardforge.sources.reading import MEMBER_MARK
from shardforge.sources.row_file import RowFile
from shardforge.sources.table_file import Columns, read_table
from shardforge.sources.written_paths import plain_path, read_slashes

#: Columns of a record that a table may be joined on; any other column holds paths, file names or stems.
JOINED_BY_VALUE = frozenset({"key", "label", "group_id", *RANKS, "url"})

_NO_ROW = -1
# What a path has that is not spelled plainly.
_SPELLED = re.compile(rf"\\|//|(^|/|{MEMBER_MARK})\.")
_SCHEMA = pa.schema(
    [("value", pa.string()), ("value_hash", pa.int64()), ("row_hash", pa.int64())]
    + [(name, pa.string()) for name in DESCRIPTIVE]
)


class Metadata:
    """The rows of a metadata file by the value that joins them, and counts of what was joined so far.

    The rows lie in a file; memory holds 18 bytes of each: a hash of its value, its number, whether it was used, and
    whether other rows with its value say something else, so that nothing is joined to it.

    Attributes:
        on: The column of the file that is compared.
        columns: The descriptive columns in which the file says something.
        matched: Records that a row was joined to.
        torn: Records that were joined to none, since rows with their value say different things.
        ambiguous: Values of such rows.
        example: One of these values; "" for none.
    """

    def __init__(self, on: str, rows: RowFile) -> None:
        self.on = on
        self.columns = [name for name in DESCRIPTIVE if (column := rows.column(name)).null_count < len(column)]
        self.matched = self.torn = 0
        self._rows = rows
        values, hashes, contents = (rows.column(name) for name in ("value", "value_hash", "row_hash"))
        numbers = np.flatnonzero(values.is_valid())
        numbers = numbers[np.argsort(hashes.to_numpy()[numbers], kind="stable")]
        ordered, contents = hashes.to_numpy()[numbers], contents.to_numpy()[numbers]
        first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(numbers)])
        differs = np.concatenate([[False], (ordered[1:] == ordered[:-1]) & (contents[1:] != contents[:-1])])
        self._ambiguous = np.add.reduceat(differs[: len(numbers)], first) > 0 if len(first) else np.zeros(0, bool)
        self._numbers = numbers[first]
        self._hashes = ordered[first]
        self._used = np.zeros(len(first), dtype=bool)
        self._without_value = len(values) - len(numbers)
        self.ambiguous = int(np.count_nonzero(self._ambiguous))
        self.example = str(values[int(self._numbers[np.argmax(self._ambiguous)])]) if self.ambiguous else ""

    @property
    def unmatched(self) -> int:
        """Rows of the file that matched no record so far; rows without a value in `on` never do."""
        return int(np.count_nonzero(~self._used & ~self._ambiguous)) + self._without_value

    def match(self, batch: pa.Table) -> tuple[np.ndarray, pa.Table]:
        """Return which records have a row, and `columns` of the rows of those that have one; count them."""
        if self.on in JOINED_BY_VALUE:
            places = self._find(batch[self.on].to_pylist())
        else:
            places = self._find_paths(batch["path"].to_pylist())
        torn = (places != _NO_ROW) & self._ambiguous[places] if self.ambiguous else np.zeros(len(places), bool)
        found = (places != _NO_ROW) & ~torn
        hits = places[found]
        self._used[hits] = True
        self.matched += len(hits)
        self.torn += int(np.count_nonzero(torn))
        return found, self._rows.take(self._numbers[hits], self.columns)

    def _find_paths(self, paths: Sequence[str]) -> np.ndarray:
        """Find each path, else its plain spelling, else its file name, else its stem."""
        places = self._find(paths)
        for shorten in (_spell_plainly, _file_name, _stem):
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
        UsageError: there is no such file or column.
        SourceError: the file is not a table, or has no rows.
        DatasetError: there is no room for it in the folder for temporary files.
    """
    if not file.is_file():
        raise UsageError(f"--metadata {file}: no such file; name a table of metadata")
    return Metadata(on, RowFile((_make_batch(file, columns, on) for columns in read_table(file)), _SCHEMA))


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
    if on not in columns:
        raise UsageError(f"--metadata {file}: there is no column {on!r}; give --on one of {shorten_list(columns)}")
    given = columns[on] if on in DESCRIPTIVE and on in JOINED_BY_VALUE else columns.pop(on)
    values = [as_text(value) if on in JOINED_BY_VALUE else _path_text(value) for value in given]
    described = describe(columns, len(values))
    texts = [values, *(described.get(name, [None] * len(values)) for name in DESCRIPTIVE)]
    hashes = [list(map(hash, values)), list(map(hash, zip(*texts, strict=True)))]
    arrays = [pa.array(numbers, pa.int64()) for numbers in hashes]
    value, *described_arrays = (pa.array(column, pa.string()) for column in texts)
    return pa.RecordBatch.from_arrays([value, *arrays, *described_arrays], schema=_SCHEMA)


def _path_text(value: object) -> str | None:
    text = as_text(value)
    return None if text is None else _spell_plainly(path_to_text(value if isinstance(value, str) else text))


def _spell_plainly(path: str) -> str:
    """Return the plain spelling of a path: that with slashes, without `.` and empty parts."""
    return plain_path(path_to_text(read_slashes(path_from_text(path)))) if _SPELLED.search(path) else path


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
