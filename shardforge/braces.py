"""Brace expansion as in a shell, for names of shards: `a-{000..003}.tar`, `{train,extra}/a.tar`."""

from __future__ import annotations

import re

_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


def expand_braces(pattern: str) -> list[str]:
    """Return the names that `pattern` stands for, the last braces changing fastest; a name without braces is itself.

    A range keeps its leading zeros; its end belongs to it.
    """
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    start, end, names = match.groups()
    if names is not None:
        choices = names.split(",")
    else:
        choices = [f"{number:0{len(start)}d}" for number in range(int(start), int(end) + 1)]
    tails = expand_braces(pattern[match.end() :])
    return [pattern[: match.start()] + choice + tail for choice in choices for tail in tails]
