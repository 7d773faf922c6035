"""Tables of any usual format, read in batches of columns: CSV, TSV, JSON Lines and Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from shardforge.errors import SourceError
from shardforge.sources.listing import BATCH_ROWS, batched

#: Column name -> one value per row.
Columns = dict[str, list[Any]]

_COMPRESSED = (".gz", ".bz2", ".zst")
_BLOCK_BYTES = 16 << 20


def read_table(file: Path) -> Iterator[Columns]:
    """Yield the table's columns in batches of at most 65,536 rows; every cell of CSV and TSV is text, empty ones null.

    Raises:
        SourceError: the file is of another format, or its content is not of the format that its suffix says.
    """
    suffixes = [suffix for suffix in file.suffixes if suffix.lower() not in _COMPRESSED]
    suffix = suffixes[-1].lower() if suffixes else ""
    if suffix not in _READERS:
        raise SourceError(
            f"{file}: not a table; expected one of {', '.join(_READERS)} (text also with .gz, .bz2 or .zst)"
        )
    try:
        yield from _READERS[suffix](file)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise SourceError(f"{file}: cannot be read as {suffix}: {error}") from error


def _read_text(file: Path, delimiter: str) -> Iterator[Columns]:
    parse = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    reading = pa.csv.ReadOptions(block_size=_BLOCK_BYTES)
    with pa.csv.open_csv(file, reading, parse) as reader:
        names = reader.schema.names
    _refuse_repeated(file, names)
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    with pa.csv.open_csv(file, reading, parse, convert) as reader:
        for block in reader:
            for start in range(0, block.num_rows, BATCH_ROWS):
                yield block.slice(start, BATCH_ROWS).to_pydict()


def _read_json_lines(file: Path) -> Iterator[Columns]:
    with pa.input_stream(file) as stream:  # decompresses what the suffix says
        for lines in batched(enumerate(io.BufferedReader(stream), start=1)):
            rows = [_parse_object(file, number, line) for number, line in lines if line.strip()]
            names = dict.fromkeys(name for row in rows for name in row)
            yield {name: [row.get(name) for row in rows] for name in names}


def _parse_object(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SourceError(f"{file}, line {number}: not JSON ({error}); expected one JSON object a line") from error
    if not isinstance(row, dict):
        raise SourceError(
            f"{file}, line {number}: {str(row)[:40]!r} is no JSON object; expected one JSON object a line"
        )
    return row


def _read_parquet(file: Path) -> Iterator[Columns]:
    with pa.parquet.ParquetFile(file) as table:
        _refuse_repeated(file, table.schema_arrow.names)
        _refuse_binary(file, table.schema_arrow)
        for batch in table.iter_batches(BATCH_ROWS):
            yield batch.to_pydict()


def _refuse_repeated(file: Path, names: list[str]) -> None:
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
    ".csv": partial(_read_text, delimiter=","),
    ".tsv": partial(_read_text, delimiter="\t"),
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
