"""Numbers as options take them: finite, and within the bounds that their field gives."""

from __future__ import annotations

import math
from typing import Any

import click

#: What torch's generators, and arrays, can count to.
_LARGEST = 2**63 - 1


class Number(click.ParamType):  # type: ignore[type-arg]  # no generic class before click 8.5
    """An int or a float from `least` to `most`."""

    def __init__(self, kind: type[int] | type[float], least: float | None = None, most: float | None = None) -> None:
        self.name = "integer" if kind is int else "float"
        self._kind, self._least, self._most = kind, least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        """Return the number that a word of the command line, or a value of a config file, stands for."""
        number = self._parse(value)
        if number is None:
            self.fail(f"{value!r} is no {'whole ' * (self._kind is int)}number", param, ctx)
        if not math.isfinite(number) or (self._kind is int and abs(number) > _LARGEST):
            self.fail(f"{value} is too large", param, ctx)
        if self._least is not None and number < self._least:
            self.fail(f"{value} is too small: give {self._least:g} or more", param, ctx)
        if self._most is not None and number > self._most:
            self.fail(f"{value} is too large: give {self._most:g} or less", param, ctx)
        return number

    def _parse(self, value: Any) -> int | float | None:
        if isinstance(value, bool) or (self._kind is int and isinstance(value, float) and value != int(value)):
            return None
        try:
            number = self._kind(value)
        except (ValueError, TypeError, OverflowError):
            return None
        return None if math.isnan(number) else number
