"""The answers of `shardforge sql` on stdout; rows stream, however many there are."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from shardforge.cli.options import LINE, TableLayout, shorten, show_value

if TYPE_CHECKING:
    from shardforge.mapping.base import Answer

#: Rows from which the widths of columns are found.
_LOOKED_AT = 1_000
_PRINTED_AT_ONCE = 500


def print_rows(answer: Answer) -> None:
    """Print an aligned table, or a block of lines for each row where a line does not hold all columns."""
    rows = (tuple(map(_readable, row)) for row in answer.rows)
    first = list(islice(rows, _LOOKED_AT))
    layout = TableLayout(answer.columns, first)
    if layout.fits or not first:
        _print(map(layout.line, chain([answer.columns], first, rows)))
    else:
        _print(_make_blocks(answer.columns, chain(first, rows)))


def print_csv(answer: Answer) -> None:
    """Print the names of the columns and the rows as CSV; NULL is an empty field."""
    _print(_format_csv(map(_readable, row)) for row in chain([answer.columns], answer.rows))


def print_objects(answer: Answer) -> None:
    """Print a JSON array with an object for each row, one a line."""
    _print(chain(["["], _format_objects(_distinct(answer.columns), answer.rows), ["]"]))


def _print(lines: Iterator[str]) -> None:
    while some := list(islice(lines, _PRINTED_AT_ONCE)):
        click.echo("\n".join(some))


def _make_blocks(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    names = [shorten(show_value(column), LINE // 2) for column in columns]
    width = max(map(len, names))
    for number, row in enumerate(rows, 1):
        yield f"row {number:,}"
        for name, value in zip(names, row, strict=True):
            yield f"  {name.ljust(width)}  {shorten(show_value(value), LINE - width - 4)}".rstrip()


def _format_csv(row: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(row)
    return line.getvalue()


def _format_objects(names: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    before = None
    for row in rows:
        if before is not None:
            yield f"{before},"
        values = dict(zip(names, map(_jsonable, row), strict=True))
        before = json.dumps(values, ensure_ascii=False, allow_nan=False)
    if before is not None:
        yield before


def _distinct(columns: Sequence[str]) -> list[str]:
    """Return the names of the columns, numbered where an object would lose one: label, label_2."""
    names: list[str] = []
    for column in columns:
        name, number = column, 1
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names


def _readable(value: Any) -> Any:
    """Return a value as text and numbers: truth and lists as JSON has them, bytes as hex digits."""
    if isinstance(value, bool | list | dict):
        return json.dumps(_jsonable(value), ensure_ascii=False)
    if isinstance(value, int | float):
        return value
    return None if value is None else _jsonable(value)


def _jsonable(value: Any) -> Any:
    """Return a value as JSON has it; what it has no form for (times, infinity, long decimals) as text."""
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
