"""`name=value` arguments."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from shardforge.errors import UsageError


def parse_pairs(texts: Iterable[str], option: str, *, refused: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the values of `name=value` texts: numbers, true, false and lists as in JSON, all else as it stands.

    `refused` are names that may not be given, and for each what to do instead.

    Raises:
        UsageError: a text has another form, or a name may not be given.
    """
    pairs: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"{option} {text}: expected name=value, for instance drop_path_rate=0.1")
        if refused and name in refused:
            raise UsageError(f"{option} {text}: leave it out; {refused[name]}")
        pairs[name] = _parse_value(value)
    return pairs


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text
