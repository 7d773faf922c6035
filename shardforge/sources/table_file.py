"""Tables of any usual format, read in batches of columns: CSV, TSV, JSON Lines and Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from shardforge.errors import SourceError
from shardforge.sources.json_text import parse_json
from shardforge.sources.listing import BATCH_ROWS, batched
from shardforge.tables import BLOCK_BYTES, COMPRESSED, DELIMITERS, choose_delimiter, explained

#: Column name -> one value per row.
Columns = dict[str, list[Any]]

_DELIMITED = (".csv", ".tsv", ".tab")


def read_table(file: Path) -> Iterator[Columns]:
    """Yield the table's columns in batches of at most 65,536 rows; every cell of CSV and TSV is text, empty ones null.

    Raises:
        SourceError: the file is of another format, or its content is not of the format that its suffix says.
    """
    suffix = _find_suffix(file, _READERS)
    with explained(file):
        yield from _READERS[suffix](file)


def read_text(
    file: Path, columns: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Yield CSV or TSV (.tsv, .tab) in tables of at most 65,536 rows of text, empty cells null.

    Args:
        file: Where the table is; .tab has no quotes, as in a Darwin Core archive.
        columns: Which columns, in this order; all when not given.
        names: The names of the columns of a file without a header.

    Raises:
        SourceError: as `read_table`, or a column is not there.
    """
    found = names or read_names(file)
    _refuse_repeated(file, found)
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(found, pa.string()),
        include_columns=columns,
        strings_can_be_null=True,
        null_values=[""],
    )
    with _open_text(file, names, convert) as reader:
        for block in reader:
            for start in range(0, block.num_rows, BATCH_ROWS):
                yield pa.table(block.slice(start, BATCH_ROWS))


def read_names(file: Path) -> list[str]:
    """Return what the first line of a CSV or TSV says: the names of its columns.

    Raises:
        SourceError: as `read_table`.
    """
    with _open_text(file) as reader:
        return list(reader.schema.names)


@contextmanager
def _open_text(
    file: Path, names: Sequence[str] | None = None, convert: pa.csv.ConvertOptions | None = None
) -> Iterator[pa.csv.CSVStreamingReader]:
    suffix = _find_suffix(file, _DELIMITED)
    quote = False if suffix == ".tab" else '"'
    reading = pa.csv.ReadOptions(block_size=BLOCK_BYTES, column_names=names)
    with explained(file):
        delimiter = DELIMITERS[suffix] if names else choose_delimiter(file, _read_first_line(file), suffix)
        parse = pa.csv.ParseOptions(delimiter=delimiter, quote_char=quote, newlines_in_values=bool(quote))
        with pa.csv.open_csv(file, reading, parse, convert) as reader:
            yield reader


def _read_first_line(file: Path) -> str:
    with pa.input_stream(file) as stream:
        return io.BufferedReader(stream).readline(BLOCK_BYTES).decode()


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
        for lines in batched(enumerate(io.BufferedReader(stream), start=1)):
            rows = [_parse_object(file, number, line) for number, line in lines if line.strip()]
            names = dict.fromkeys(name for row in rows for name in row)
            yield {name: [row.get(name) for row in rows] for name in names}


def _parse_object(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise SourceError(f"{file}, line {number}: not JSON ({error}); expected one JSON object a line") from error
    if not isinstance(row, dict):
        raise SourceError(
            f"{file}, line {number}: {str(row)[:40]!r} is no JSON object; expected one JSON object a line"
        )
    return row


def _read_parquet(file: Path) -> Iterator[Columns]:
    with pa.parquet.ParquetFile(file, pre_buffer=False) as table:  # a buffer would hold all of it
        _refuse_repeated(file, table.schema_arrow.names)
        _refuse_binary(file, table.schema_arrow)
        for batch in table.iter_batches(BATCH_ROWS):
            yield batch.to_pydict()


def _refuse_repeated(file: Path, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SourceError(f"{file}: column {name!r} occurs twice; rename one")


def _refuse_binary(file: Path, schema: pa.Schema) -> None:
    for field in schema:
        if "binary" in str(field.type):  # also inside lists and structs
            raise SourceError(
                f"{file}: column {field.name!r} is of type {field.type}; a table names images by path and holds no "
                "bytes: write them to files, or leave the column out"
            )


_READERS: dict[str, Callable[[Path], Iterator[Columns]]] = {
    **dict.fromkeys(_DELIMITED, _read_delimited),
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
