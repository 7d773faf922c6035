"""Tables that say more about files: rows looked up by a number, or matched with files by a name, many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.sources.listing import BATCH_ROWS


class KeyedTable:
    """A table whose rows are looked up by a number, null for none; of rows with the same number the first counts."""

    def __init__(self, keys: pa.Array | pa.ChunkedArray, table: pa.Table) -> None:
        table = table.filter(pc.is_valid(keys))
        numbers = keys.drop_null().to_numpy()
        order = np.argsort(numbers, kind="stable")
        first = np.ones(len(order), dtype=bool)
        first[1:] = numbers[order[1:]] != numbers[order[:-1]]
        order = order[first]
        self._keys = numbers[order]
        self._table = table.take(pa.array(order)).combine_chunks()

    def __len__(self) -> int:
        return len(self._keys)

    def take(self, keys: pa.Array) -> pa.Table:
        """Return the row for each key, all nulls where there is none; `keys` are int64 and may be null."""
        wanted = keys.fill_null(-1).to_numpy(zero_copy_only=False)
        rows = np.searchsorted(self._keys, wanted)
        rows[rows == len(self._keys)] = 0
        missing = self._keys[rows] != wanted if len(self._keys) else np.ones(len(rows), dtype=bool)
        return self._table.take(pa.array(rows, mask=missing))


class FileMatch:
    """Which files belong to which row of a table, where both have a name; several of either may have the same.

    Args:
        files: The name of each file, null for none.
        rows: The name of each row, null for none.
    """

    def __init__(self, files: pa.Array, rows: pa.Array) -> None:
        names = rows.dictionary_encode()
        count = len(names.dictionary)
        of_files = np.asarray(pc.index_in(files, names.dictionary, skip_nulls=True).fill_null(count))
        self._order = np.argsort(of_files, kind="stable")
        self._files = of_files[self._order]
        self._rows = np.asarray(names.indices.fill_null(-1))
        self._count = count

    def join(self, tables: Iterable[pa.Table]) -> Iterator[tuple[pa.Table, list[int | None]]]:
        """Yield the rows of `tables`, in their order, with the file of each, None for a row without one.

        A row with several files stands there once for each.
        """
        start = 0
        for table in tables:
            names = self._rows[start : start + len(table)]
            low = np.searchsorted(self._files, names, "left")
            found = np.searchsorted(self._files, names, "right") - low
            times = np.maximum(found, 1)
            rows = np.repeat(np.arange(len(table)), times)
            place = np.repeat(low, times) + np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
            joined = table.take(pa.array(rows))
            files = np.append(self._order, -1)[np.where(found[rows] > 0, place, -1)].tolist()
            for first in range(0, len(joined), BATCH_ROWS):
                part = files[first : first + BATCH_ROWS]
                yield joined.slice(first, BATCH_ROWS), [None if file < 0 else file for file in part]
            start += len(table)

    @property
    def unmatched(self) -> list[int]:
        """The files without a row, in their order."""
        return list(self._order[np.searchsorted(self._files, self._count) :].tolist())


def read_numbers(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return ids written as text as int64, null for what is no number."""
    return pc.if_else(pc.match_substring_regex(texts, r"^\d{1,18}$"), texts, None).cast(pa.int64())


def iter_slices(table: pa.Table) -> Iterator[pa.Table]:
    """Yield a table in slices of at most 65,536 rows."""
    for start in range(0, len(table), BATCH_ROWS):
        yield table.slice(start, BATCH_ROWS)
