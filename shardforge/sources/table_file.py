"""Tables of any usual format, read in batches of columns: CSV, TSV, JSON Lines and Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from shardforge.errors import SourceError, shorten
from shardforge.sources.json_text import parse_json
from shardforge.sources.listing import BATCH_ROWS, batched
from shardforge.tables.archive_meta import read_meta_beside
from shardforge.tables.dialect import COMPRESSED
from shardforge.tables.faults import explained, refuse_repeated
from shardforge.tables.formats import HEAD_BYTES, JSON_LINES, refuse_other_formats
from shardforge.tables.numbers import read_whole_numbers
from shardforge.tables.parquet import open_parquet
from shardforge.tables.text import TextTable

#: Column name -> one value per row.
Columns = dict[str, list[Any]]

_DELIMITED = (".csv", ".tsv", ".tab")


def read_table(file: Path) -> Iterator[Columns]:
    """Yield the table's columns in batches of at most 65,536 rows; every cell of CSV and TSV is text, empty ones null.

    Raises:
        SourceError: the file is of another format, its content is not of the format that its suffix says, or it has no
            rows.
    """
    suffix = _find_suffix(file, _READERS)
    with explained(file):
        yield from _READERS[suffix](file)


def read_text(
    file: Path, columns: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Yield CSV or TSV (.tsv, .tab) in tables of at most 65,536 rows of text, empty cells null.

    Whole numbers that were written as floats, for want of some in their column, are whole again.

    Args:
        file: Where the table is.
        columns: Which columns, in this order; all when not given.
        names: The names of the columns of a file without a header.

    Raises:
        SourceError: as `read_table`, or a column is not there.
    """
    found = names or read_names(file)
    refuse_repeated(file, found)
    places = [str(found.index(name) + 1) for name in columns or found] if names else columns
    for table in read_whole_numbers(partial(_read_tables, file, header=names is None), places):
        named = table.rename_columns(columns or found)
        for start in range(0, named.num_rows, BATCH_ROWS):
            yield named.slice(start, BATCH_ROWS)


def read_names(file: Path) -> list[str]:
    """Return what the first line of a CSV or TSV says: the names of its columns.

    Raises:
        SourceError: as `read_table`.
    """
    with _open_text(file, header=True) as table:
        return table.names


def _read_tables(file: Path, columns: Sequence[str] | None, *, header: bool) -> Iterator[pa.Table]:
    with _open_text(file, header=header) as table:
        yield from table.tables(columns)


@contextmanager
def _open_text(file: Path, *, header: bool) -> Iterator[TextTable]:
    suffix = _find_suffix(file, _DELIMITED)
    with explained(file), pa.input_stream(file) as stream:  # decompresses what the suffix says
        yield TextTable(stream, file, suffix, dialect=read_meta_beside(file), header=header)


def _find_suffix(file: Path, readers: Iterable[str]) -> str:
    """Return the suffix that says how the file is read, in lower case and without that of its compression."""
    suffixes = [suffix for suffix in file.suffixes if suffix.lower() not in COMPRESSED]
    suffix = suffixes[-1].lower() if suffixes else ""
    if suffix not in readers:
        raise SourceError(
            f"{file}: not a table; expected one of {', '.join(readers)} (text also with .gz, .bz2 or .zst)"
        )
    return suffix


def _read_delimited(file: Path) -> Iterator[Columns]:
    return (table.to_pydict() for table in read_text(file))


def _read_json_lines(file: Path) -> Iterator[Columns]:
    with pa.input_stream(file) as stream:  # decompresses what the suffix says
        refuse_other_formats(file, stream.read(HEAD_BYTES), JSON_LINES)
    with pa.input_stream(file) as stream:
        for lines in batched(enumerate(io.BufferedReader(stream), start=1)):
            rows = [_parse_object(file, number, line) for number, line in lines if line.strip()]
            names = dict.fromkeys(name for row in rows for name in row)
            yield {name: [row.get(name) for row in rows] for name in names}


def _parse_object(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise SourceError(
            f"{file}, line {number}: not JSON ({shorten(error)}); expected one JSON object a line"
        ) from error
    if not isinstance(row, dict):
        raise SourceError(f"{file}, line {number}: '{shorten(row)}' is no JSON object; expected one JSON object a line")
    return row


def _read_parquet(file: Path) -> Iterator[Columns]:
    with open_parquet(file, file) as table:
        refuse_repeated(file, table.schema_arrow.names)
        _refuse_binary(file, table.schema_arrow)
        for batch in table.iter_batches(BATCH_ROWS):
            yield batch.to_pydict()


def _refuse_binary(file: Path, schema: pa.Schema) -> None:
    for field in schema:
        if "binary" in str(field.type):  # also inside lists and structs
            raise SourceError(
                f"{file}: column '{shorten(field.name)}' is of type {shorten(field.type)}; a table names images by "
                "path and holds no bytes: write them to files, or leave the column out"
            )


_READERS: dict[str, Callable[[Path], Iterator[Columns]]] = {
    **dict.fromkeys(_DELIMITED, _read_delimited),
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
