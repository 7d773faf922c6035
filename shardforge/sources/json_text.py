"""JSON that others wrote, and text from it: JSON can say what UTF-8, and so a database, cannot hold."""

from __future__ import annotations

import json
from typing import Any

#: How deep JSON may be nested: what is read here is written, and read again by others, with less room on the stack.
_MOST_LEVELS = 100


def parse_json(text: bytes | str) -> Any:
    """Return what JSON text holds; NaN and Infinity, which some write and JSON does not have, are nothing.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    data = text.encode() if isinstance(text, str) else text
    try:
        value = json.loads(data, parse_constant=drop_constant)
        deep = data.count(b"[") + data.count(b"{") > _MOST_LEVELS and _is_deep(value)
    except RecursionError:
        deep = True
    if deep:
        raise ValueError(f"nested more than {_MOST_LEVELS} levels deep")
    return value


def drop_constant(name: str) -> None:
    """Return nothing for NaN and Infinity: what `parse_constant` of a decoder takes."""


def dump_json(value: object, *, compact: bool = False) -> str:
    """Return a value as JSON that is UTF-8; what JSON has no form for is written as text.

    `compact` sorts keys and leaves spaces out, so that equal objects are equal texts.
    """
    separators = (",", ":") if compact else None
    return mend_text(json.dumps(value, default=str, ensure_ascii=False, sort_keys=compact, separators=separators))


def mend_text(text: str) -> str:
    r"""Return text with each half of a surrogate pair, as a cut in the middle of an emoji leaves it, as `\uNNNN`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MOST_LEVELS + 1):
        nested = [inner for inner in level if isinstance(inner, dict | list)]
        level = [value for inner in nested for value in (inner.values() if isinstance(inner, dict) else inner)]
    return bool(level)
