"""Reads a large JSON file of lists, as COCO's, one element after another: memory holds a block of it, never all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from shardforge.errors import SourceError, shorten
from shardforge.sources.json_text import drop_constant
from shardforge.tables.formats import HEAD_BYTES, JSON, refuse_other_formats

_BLOCK = 1 << 22
_LONGEST_VALUE = 1 << 26
_SPACE = " \t\r\n"


def iter_elements(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield (name, element) for each element of the lists in the object that `file` holds, in its order.

    Values that are no lists are passed over, and so is a byte-order mark; NaN is null.

    Raises:
        SourceError: the file is not JSON, holds no object, is nested too deeply, or ends too early.
    """
    try:
        with open(file, "rb") as head:
            refuse_other_formats(file, head.read(HEAD_BYTES), JSON)
        with open(file, encoding="utf-8-sig") as opened:
            yield from _Reader(opened).read_object()
    except (ValueError, OSError, RecursionError) as error:
        found = "nested too deeply" if isinstance(error, RecursionError) else shorten(error, 120)
        raise SourceError(f"{file}: cannot be read as JSON ({found}); expected an object of lists") from error


class _Reader:
    """A window of text that moves over a file."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._text = ""
        self._position = 0
        self._decode = json.JSONDecoder(parse_constant=drop_constant).raw_decode

    def read_object(self) -> Iterator[tuple[str, Any]]:
        self._expect("{")
        if self._next() == "}":
            return
        while True:
            name = self._read_value()
            self._expect(":")
            if self._next() == "[":
                for element in self._read_list():
                    yield name, element
            else:
                self._read_value()
            if self._expect(",}") == "}":
                return

    def _read_list(self) -> Iterator[Any]:
        self._expect("[")
        if self._next() == "]":
            self._expect("]")
            return
        while True:
            yield self._read_value()
            if self._expect(",]") == "]":
                return

    def _next(self) -> str:
        """Return the next character that is no space, without passing it; "" at the end."""
        while True:
            while self._position < len(self._text) and self._text[self._position] in _SPACE:
                self._position += 1
            if self._position < len(self._text) or not self._read_more():
                return self._text[self._position : self._position + 1]

    def _expect(self, characters: str) -> str:
        """Pass the next character, which must be one of `characters`."""
        found = self._next()
        if not found or found not in characters:
            raise ValueError(f"found {found or 'the end'!r} where {' or '.join(characters)} is expected")
        self._position += 1
        return found

    def _read_value(self) -> Any:
        """Return the next value; one that reaches the end of the text may go on in the next block."""
        self._next()
        while True:
            try:
                value, end = self._decode(self._text, self._position)
            except ValueError:
                if len(self._text) - self._position > _LONGEST_VALUE or not self._read_more():
                    raise
                continue
            if end < len(self._text) or not self._read_more():
                self._position = end
                return value

    def _read_more(self) -> bool:
        block = self._file.read(_BLOCK)
        if block:
            self._text = self._text[self._position :] + block
            self._position = 0
        return bool(block)
