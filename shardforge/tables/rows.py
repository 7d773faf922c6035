"""Small tables in text, read whole, row by row."""

from __future__ import annotations

import re
from pathlib import Path

from shardforge.tables.text import TextTable

_WHOLE = re.compile(r"-?[0-9]+\.0")

#: Number of the first line of a row, and its cells.
Row = tuple[int, list[str]]


def read_rows(file: Path, suffix: str) -> tuple[list[str], list[Row]]:
    """Return the names of the columns of a table, and its rows, which may have more or fewer cells.

    Whole numbers that were written as floats, for want of some in their column, are whole again (see
    `shardforge.tables.numbers`).

    Args:
        file: Where it is; not compressed.
        suffix: One of `shardforge.tables.dialect.DELIMITERS`, which says how it is written.

    Raises:
        OSError: it cannot be read.
        SourceError: it is no such table (see `TextTable`).
        csv.Error: a cell is longer than `csv.field_size_limit()`.
    """
    with open(file, "rb") as stream:
        table = TextTable(stream, file, suffix)
        rows = list(table.rows())
    for place in range(len(table.names)):
        cells = [row[place] for _, row in rows if place < len(row) and row[place]]
        if cells and all(map(_WHOLE.fullmatch, cells)):
            for _, row in rows:
                row[place : place + 1] = [cell.removesuffix(".0") for cell in row[place : place + 1]]
    return table.names, rows
