"""Whole numbers that a program wrote as floats: `12.0` in a column where some numbers are missing.

pandas has no missing value for whole numbers and makes such a column one of floats, in CSV `12.0`. A column of text is
taken for one of these when every cell that is not empty is digits and `.0`; one with `1.10` or `2.5` stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_WHOLE = r"^-?[0-9]+\.0$"
#: Rows that are looked at one part after the other: a few of them rule most columns out.
_PARTS = ((0, 16), (16, 1_024), (1_040, None))
_MOST = 1 << 53  # up to here each whole number is a float of its own


def as_whole(value: Any) -> Any:
    """Return a float or a decimal as an int where it is whole, and all else as it is.

    Floats beyond 2^53 stay, too: these are all whole, whatever they stood for.
    """
    if isinstance(value, float):
        return int(value) if abs(value) <= _MOST and value.is_integer() else value
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value


def read_whole_numbers(
    read: Callable[[Sequence[str] | None], Iterable[pa.Table]], columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Yield the tables of text that `read(columns)` yields; columns of floats that are whole numbers are these.

    A column is judged by all its cells; where the first table does not decide, such columns alone are read once more.
    """
    tables = iter(read(columns))
    first, second = next(tables, None), next(tables, None)
    if first is None:
        return
    found = _find_whole([first])
    if found and second is not None:
        found = _find_whole(read(found))
    for table in chain([first] if second is None else [first, second], tables):
        yield _restore(table, found)


def restore_whole_numbers(table: pa.Table) -> pa.Table:
    """Return a whole table with such columns restored."""
    return _restore(table, _find_whole([table]))


def _find_whole(tables: Iterable[pa.Table]) -> list[str]:
    """Return the names of the columns in which all cells there are, and at least one, are digits and `.0`."""
    candidates: dict[str, bool] | None = None
    for table in tables:
        candidates = dict.fromkeys(table.column_names, False) if candidates is None else candidates
        for first, rows in _PARTS:
            part = table.slice(first, rows)
            for name in list(candidates):
                whole = pc.all(pc.match_substring_regex(part.column(name), _WHOLE)).as_py()
                if whole is False:
                    del candidates[name]
                elif whole:
                    candidates[name] = True
        if not candidates:
            break
    return [name for name, some in (candidates or {}).items() if some]


def _restore(table: pa.Table, names: Iterable[str]) -> pa.Table:
    for name in names:
        whole = pc.replace_substring(table.column(name), ".0", "", max_replacements=1)
        table = table.set_column(table.column_names.index(name), table.field(name), whole)
    return table
