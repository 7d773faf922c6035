"""Brace expansion as in a shell, for names of shards: `a-{000..003}.tar`, `{train,extra}/a.tar`."""

from __future__ import annotations

import math
import re
from itertools import product

from shardforge.errors import UsageError

#: The most names that one pattern may stand for: more is a slip of the pen.
MOST_NAMES = 1_000_000

_BRACES = re.compile(r"\{(?:([0-9]{1,18})\.\.([0-9]{1,18})|([^{}]*,[^{}]*))\}")


def expand_braces(pattern: str) -> list[str]:
    """Return the names that `pattern` stands for, the last braces changing fastest; a name without braces is itself.

    A range keeps its leading zeros; its end belongs to it.

    Raises:
        UsageError: a range runs backwards, or there are more than `MOST_NAMES` names.
    """
    pieces: list[list[str]] = []
    end = 0
    for match in _BRACES.finditer(pattern):
        first, last, names = match.groups()
        choices = _count_up(pattern, first, last) if names is None else names.split(",")
        pieces += [[pattern[end : match.start()]], choices]
        end = match.end()
    _check_count(pattern, math.prod(map(len, pieces)))
    return ["".join(parts) for parts in product(*pieces, [pattern[end:]])]


def _count_up(pattern: str, first: str, last: str) -> list[str]:
    if int(first) > int(last):
        raise UsageError(f"{pattern}: {first}..{last} runs backwards; give the smaller number first")
    _check_count(pattern, int(last) - int(first) + 1)
    return [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]


def _check_count(pattern: str, count: int) -> None:
    if count > MOST_NAMES:
        raise UsageError(f"{pattern} stands for {count:,} names; one pattern may stand for {MOST_NAMES:,}: mend it")
