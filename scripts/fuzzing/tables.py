"""Tables in text: `shardforge.tables`, against Python's `csv`, and in blocks of any size against one block."""

from __future__ import annotations

import csv
import io

from fuzzing.target import Target, require

from shardforge.errors import SourceError
from shardforge.tables.blocks import iter_blocks
from shardforge.tables.dialect import DELIMITERS, Dialect
from shardforge.tables.faults import explained
from shardforge.tables.text import TextTable

_BOM = b"\xef\xbb\xbf"
_SUFFIXES = tuple(DELIMITERS)
_ROWS = (
    b'path,label\na.jpg,"one, two"\nb.jpg,"say ""no"""\n',
    b'\r\npath;label\r\n"a\nb";1\r\n\r\nc;\r\n',
    b"path\tlabel\na.jpg\ta \"name\"\n\xc3\xa9\t'x'\r",
    b'"path"\t"label"\n"a.jpg"\t"x\ty"\n',
    b'a,b,c\n1,"' + b"x,y,z\n" * 12 + b'",3\n',
    b"a\n1.0\n\n2\n",
    b"a,b\n" + b'"",""\n' * 3,
)


def make_seeds() -> list[bytes]:
    """Return tables behind a byte that says how they are to be read; see `check`."""
    return [bytes([first]) + head + rows for rows in _ROWS for first in range(8) for head in (b"", _BOM)]


def check(data: bytes) -> None:
    if not data:
        return
    first, text = data[0], data[1:]
    suffix, header, size = _SUFFIXES[first % 4], bool(first & 4), max(1 + (first >> 3), len(text) // 8)
    try:
        table = TextTable(io.BytesIO(text), "table", suffix, header=header, size=size)
        rows = list(table.rows())
    except (SourceError, csv.Error):
        return
    check_rows(text, table, rows, header)
    check_blocks(text, table.dialect, size)
    if not len(text) % 4:  # Arrow takes ten times as long as all else
        check_arrow(text, suffix, header, table, rows)


def check_rows(text: bytes, table: TextTable, rows: list[tuple[int, list[str]]], header: bool) -> None:
    """Compare rows with those of Python's csv."""
    quoting = csv.QUOTE_MINIMAL if table.dialect.quoted else csv.QUOTE_NONE
    lines = io.StringIO(text.removeprefix(_BOM).decode(), newline="")
    expected = [cells for cells in csv.reader(lines, delimiter=table.dialect.delimiter, quoting=quoting) if cells]
    found = [cells for _, cells in rows]
    require(([table.names, *found] if header else found) == expected, f"csv has {expected}, here are {found}")
    numbers = [number for number, _ in rows]
    require(numbers == sorted(set(numbers)), "lines of rows do not ascend")


def check_blocks(text: bytes, dialect: Dialect, size: int) -> None:
    """Compare the rows of small blocks with those of one; what is no table as a whole is none in blocks."""
    whole = read_blocks(text, dialect, 1 << 20)
    require(read_blocks(text, dialect, size) == whole, f"blocks of {size} bytes give other rows")


def read_blocks(text: bytes, dialect: Dialect, size: int) -> list[tuple[int, list[str]]] | None:
    found = []
    try:
        for block in iter_blocks(io.BytesIO(text), dialect, "table", size=size):
            for before, cells in dialect.iter_rows(block.data[: block.end].decode(errors="replace")):
                found.append((block.line + before, cells))
    except (SourceError, csv.Error):
        return None
    return found


def check_arrow(text: bytes, suffix: str, header: bool, table: TextTable, rows: list[tuple[int, list[str]]]) -> None:
    """Compare what Arrow reads with the rows one by one; it refuses rows of other lengths, and only these."""
    even = rows and all(len(cells) == len(table.names) for _, cells in rows)
    try:
        with explained("table"):
            tables = list(TextTable(io.BytesIO(text), "table", suffix, header=header).tables())
    except SourceError as error:
        require(not even, f"Arrow does not read what csv does: {error}")
        return
    require(even, "Arrow reads what csv does not")
    found = [list(row) for part in tables for row in zip(*(column.to_pylist() for column in part.columns), strict=True)]
    require(found == [[cell or None for cell in cells] for _, cells in rows], f"Arrow has {found}, csv {rows}")


TARGET = Target(make_seeds, check, most=1 << 10)
