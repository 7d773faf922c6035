"""Brace expansion as in a shell, for names of shards: `a-{000..003}.tar`, `{train,extra}/a.tar`."""

from __future__ import annotations

import re
from itertools import product

from shardforge.errors import UsageError

#: The most names that one pattern may stand for, and letters in all of them: more is a slip of the pen.
MOST_NAMES = 1_000_000
MOST_LETTERS = 1 << 28

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})")
_SHOWN = 200


def expand_braces(pattern: str) -> list[str]:
    """Return the names that `pattern` stands for, the last braces changing fastest; a name without braces is itself.

    A range keeps its leading zeros; its end belongs to it. Too many names are refused before any is made.

    Raises:
        UsageError: a range runs backwards, or there are more than `MOST_NAMES` names, or `MOST_LETTERS` in them.
    """
    braces = [match for match in _BRACES.finditer(pattern) if "," in match[1] or _RANGE.fullmatch(match[1])]
    count = 1
    for match in braces:
        count *= _count_choices(pattern, match[1])
        if count > MOST_NAMES or count * len(pattern) > MOST_LETTERS:
            more = "" if match is braces[-1] else " and more"
            raise UsageError(
                f"{_shorten(pattern)} stands for {count:,} names{more}; one pattern may stand for {MOST_NAMES:,}, of "
                f"{MOST_LETTERS:,} letters in all: mend it"
            )
    pieces: list[list[str]] = []
    end = 0
    for match in braces:
        pieces += [[pattern[end : match.start()]], _list_choices(match[1])]
        end = match.end()
    return ["".join(parts) for parts in product(*pieces, [pattern[end:]])]


def _count_choices(pattern: str, text: str) -> int:
    numbers = _RANGE.fullmatch(text)
    if numbers is None:
        return text.count(",") + 1
    first, last = numbers.groups()
    if int(first) > int(last):
        raise UsageError(f"{_shorten(pattern)}: {first}..{last} runs backwards; give the smaller number first")
    return int(last) - int(first) + 1


def _list_choices(text: str) -> list[str]:
    numbers = _RANGE.fullmatch(text)
    if numbers is None:
        return text.split(",")
    first, last = numbers.groups()
    return [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
