"""`name=value` arguments."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from shardforge.errors import UsageError


def parse_pairs(texts: Iterable[str], option: str) -> dict[str, Any]:
    """Return the values of `name=value` texts: numbers, true, false and lists as in JSON, all else as it stands.

    Raises:
        UsageError: a text has another form.
    """
    pairs: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"{option} {text}: expected name=value, for instance drop_path_rate=0.1")
        pairs[name] = _parse_value(value)
    return pairs


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text
