"""JSON objects from columns, a whole batch at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

#: What JSON writes with a backslash.
_SPECIAL = r'["\\\x00-\x1f]'


def join_objects(columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Array:
    """Return one JSON object for each row, with sorted keys and without nulls; null where nothing is left.

    Text becomes strings, other columns become what Arrow prints: numbers.
    """
    parts = [_write_member(name, columns[name]) for name in sorted(columns)]
    # The empty text keeps rows of nulls alone, which Arrow drops (seen in 26.0).
    joined = pc.binary_join_element_wise("", *parts, ",", null_handling="skip")
    whole = pc.binary_join_element_wise("{", pc.utf8_slice_codeunits(joined, 1), "}", "")
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), whole)


def _write_member(name: str, column: pa.Array | pa.ChunkedArray) -> pa.Array:
    plain = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(plain.type) or pa.types.is_string(plain.type):
        values = _quote(plain.cast(pa.string()))
    else:
        values = plain.cast(pa.string())
    return pc.binary_join_element_wise(json.dumps(name, ensure_ascii=False), values, ":")


def _quote(texts: pa.Array) -> pa.Array:
    """Return texts as JSON strings; null for empty ones."""
    quoted = pc.binary_join_element_wise('"', texts, '"', "")
    special = pc.match_substring_regex(texts, _SPECIAL).fill_null(False)
    if pc.any(special).as_py():
        written = [json.dumps(text, ensure_ascii=False) for text in texts.filter(special).to_pylist()]
        quoted = pc.replace_with_mask(quoted, special, pa.array(written, pa.string()))
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), quoted)
