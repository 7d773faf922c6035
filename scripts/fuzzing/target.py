"""What a fuzz target is, and what several of them need."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

_NUMBERS = (0, 1, -1, 2, 255, 512, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, 1 << 64, 10**30, 0.5, 1e308)
_TEXTS = ("", "\0", ".", "..", "../x", "/etc/passwd", "a/b", "é", "\ud800", "\n", '"', "train", "0" * 64, "x" * 300)


@dataclass(frozen=True)
class Target:
    """One reader of foreign bytes.

    Attributes:
        seeds: Returns inputs that it reads without error, and others worth starting from.
        check: Reads one input; whatever it raises is a crash. Documented errors are caught in it.
        mend: Returns an input with its checksums made right, so that mutations get behind them; it leaves alone what
            it does not understand.
        vary: Returns an input with its structure changed, not just its bytes.
        most: Bytes of an input.
    """

    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes], None]
    mend: Callable[[bytes], bytes] | None = None
    vary: Callable[[bytes, Random], bytes] | None = None
    most: int = 1 << 14


def require(good: bool, what: object) -> None:
    """Report a result that is wrong."""
    if not good:
        raise AssertionError(what)


def make_folder() -> Path:
    """Return a folder for what has to be a file; `scripts/fuzz.py` says where, and removes it."""
    return Path(tempfile.mkdtemp())


def vary_json(value: Any, random: Random) -> Any:
    """Return a JSON value with one part of it replaced, left out, doubled or moved."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        name = random.choice(list(value))
        changed = random.randrange(8)
        if changed == 0:
            return {other: part for other, part in value.items() if other != name}
        if changed == 1:
            return {**value, random.choice(_TEXTS): value[name]}
        return {**value, name: vary_json(value[name], random)}
    if isinstance(value, list) and value and random.random() < 0.9:
        place = random.randrange(len(value))
        changed = random.randrange(8)
        if changed == 0:
            return value[:place] + value[place + 1 :]
        if changed == 1:
            return [*value[:place], value[place], *value[place:]]
        return [*value[:place], vary_json(value[place], random), *value[place + 1 :]]
    if type(value) is int and random.random() < 0.5:
        return value + random.choice((-1, 1))
    others = (None, True, False, {}, [], [value], {"a": value}, random.choice(_NUMBERS), random.choice(_TEXTS))
    return random.choice(others)


def parse_object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object that an input is, None for others."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
