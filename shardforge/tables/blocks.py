r"""The rows of a table in text, a block of whole rows at a time, after a look at the quotes.

Rows end with `\n`, `\r\n` or `\r`. A quote opens at the beginning of a cell and nowhere else; inside, two stand for
one; what follows the closing one up to the end of the cell belongs to it. That is how Python's `csv` reads, and, given
whole rows, Arrow. Here it is an error when a quote is never closed, or when one that was open over the end of a line is
followed by other text: then it belonged to the text, and rows were about to vanish in a cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from shardforge.errors import SourceError
from shardforge.tables.dialect import Dialect

#: Bytes that are read at a time; no row is longer.
BLOCK_BYTES = 16 << 20

_PIECE = 1 << 20  # what fits in the cache of a core
_LF, _CR, _QUOTE = b'\n\r"'
_LINE_END = re.compile(rb"\r\n|\n|\r")
#: In fewer lines than this nobody looks for rows that a quote has swallowed.
_MANY_LINES = 10

_Places = npt.NDArray[np.intp]


class Block(NamedTuple):
    """Whole rows of a table: the bytes of `data` up to `end`, the number of their first line, and how many they are."""

    data: bytes
    end: int
    line: int
    lines: int


class QuoteError(Exception):
    """A quote that is out of place: where it was opened, and where closed (None: nowhere)."""

    def __init__(self, opened: int, closed: int | None) -> None:
        super().__init__(opened, closed)
        self.opened = opened
        self.closed = closed


def iter_blocks(
    stream: IO[bytes], dialect: Dialect, place: str, *, head: bytes = b"", line: int = 1, size: int = BLOCK_BYTES
) -> Iterator[Block]:
    """Yield the rows of a table in blocks of about `size` bytes.

    Args:
        stream: What follows `head`.
        dialect: How the table is written.
        place: Where it is, for messages.
        head: What was read of it already.
        line: The number of the first line of `head`.
        size: Bytes to read at a time.

    Raises:
        SourceError: a quote is out of place, or a row is longer than 16 MiB.
    """
    rest, final = head, False
    while not final:
        new = read_full(stream, size)
        final = len(new) < size
        data = rest + new if rest else new
        try:
            end, opened = find_end(data, dialect, final=final)
        except QuoteError as error:
            raise explain_quote(place, data, line, error) from None
        if end:
            lines = count_lines(data, end)
            yield Block(data, end, line, lines)
            line += lines
        rest = data[end:]
        if len(rest) > max(BLOCK_BYTES, size):
            start = f", since {locate(data, opened, line)} has a quote that is left open" if opened is not None else ""
            raise SourceError(
                f"{place}: a row is longer than 16 MiB, from line {line:,} on{start}; close the quote, or move the "
                "text to the column where it belongs"
            )


def read_full(stream: IO[bytes], size: int) -> bytes:
    """Return the next `size` bytes, fewer at the end alone."""
    parts = [stream.read(size)]
    while parts[-1] and (missing := size - sum(map(len, parts))):
        parts.append(stream.read(missing))
    return b"".join(parts)


def find_end(data: bytes, dialect: Dialect, *, final: bool) -> tuple[int, int | None]:
    """Return where the last whole row of `data` ends, and where a quote is opened that is not closed in `data`.

    `data` begins with a row; `final` says that nothing follows it.

    Raises:
        QuoteError: a quote is out of place.
    """
    quotes = _find(data, _QUOTE) if dialect.quoted and b'"' in data else np.empty(0, np.intp)
    opens, closes = _pair_quotes(data, quotes, dialect)
    opened = int(opens[-1]) if len(opens) > len(closes) else None
    if final:
        if opened is not None:
            raise QuoteError(opened, None)
        return len(data), None
    end = _last_line_end(data, len(data))
    while end:
        inside = int(np.searchsorted(opens, end - 1))
        if inside == 0 or (inside <= len(closes) and closes[inside - 1] < end - 1):
            break
        end = _last_line_end(data, int(opens[inside - 1]))
    return end, opened


def find_first_end(data: bytes, dialect: Dialect, *, final: bool) -> int | None:
    """Return where the first row of `data` ends; None where it goes on behind it.

    Raises:
        QuoteError: as `find_end`.
    """
    line_end = _LINE_END.search(data)
    if dialect.quoted and b'"' in data[: line_end.start() if line_end else None]:
        opens, closes = _pair_quotes(data, _find(data, _QUOTE), dialect)
        while line_end and (inside := int(np.searchsorted(opens, line_end.start()))):
            if inside > len(closes):
                line_end = None
            elif closes[inside - 1] < line_end.start():
                break
            else:
                line_end = _LINE_END.search(data, int(closes[inside - 1]))
        if line_end is None and final and len(opens) > len(closes):
            raise QuoteError(int(opens[-1]), None)
    if line_end and (final or line_end.end() < len(data)):  # a last \r may want its \n
        return line_end.end()
    return len(data) if final else None


def count_lines(data: bytes, end: int | None = None) -> int:
    r"""Return how many ends of lines there are in `data` up to `end`."""
    view = np.frombuffer(data, np.uint8)[:end]
    lines = int(np.count_nonzero(view == _LF))
    if b"\r" in data:
        returns = view == _CR
        lines += int(np.count_nonzero(returns)) - int(np.count_nonzero(returns[:-1] & (view[1:] == _LF)))
    return lines


def locate(data: bytes, offset: int, line: int) -> str:
    """Return "line L, column C" for a byte of `data`, whose first line has the number `line`; both from 1."""
    start = max(data.rfind(b"\n", 0, offset), data.rfind(b"\r", 0, offset)) + 1
    column = len(data[start:offset].decode(errors="replace")) + 1
    return f"line {line + count_lines(data, start):,}, column {column:,}"


def find_swallowed(block: Block, dialect: Dialect, columns: int) -> str | None:
    """Return where a quote is opened in a block whose cell holds what looks like ten rows of `columns` or more.

    Such a cell may be meant; nearly always its opening quote belonged to the text, and some later one closed it.
    """
    if not dialect.quoted or columns < 3:
        return None
    data = block.data[: block.end]
    opens, closes = _pair_quotes(data, _find(data, _QUOTE), dialect)
    inside = np.searchsorted(opens, _find(data, _LF))
    spans, lines = np.unique(inside[inside > 0], return_counts=True)
    for span in (spans[lines > _MANY_LINES] - 1).tolist():
        rows = data[opens[span] : closes[span]].split(b"\n")[1:-1]
        delimiter = dialect.delimiter.encode()
        if len(rows) >= _MANY_LINES and all(row.count(delimiter) == columns - 1 for row in rows):
            return locate(data, int(opens[span]), block.line)
    return None


def _find(data: bytes, byte: int) -> _Places:
    """Return the places of a byte."""
    view = np.frombuffer(data, np.uint8)
    parts = [np.flatnonzero(view[start : start + _PIECE] == byte) + start for start in range(0, len(view), _PIECE)]
    return np.concatenate(parts) if parts else np.empty(0, np.intp)


def _last_line_end(data: bytes, before: int) -> int:
    r"""Return the place behind the last end of a line before `before`, 0 for none; a last `\r` may want its `\n`."""
    feed = data.rfind(b"\n", 0, before)
    carriage = data.rfind(b"\r", feed + 1, min(before, len(data) - 1))
    return max(feed, carriage) + 1


def _pair_quotes(data: bytes, quotes: _Places, dialect: Dialect) -> tuple[_Places, _Places]:
    """Return where quotes are opened and closed; the last may be open at the end."""
    if not _is_regular(data, quotes, dialect):
        return _walk_quotes(data, quotes.tolist(), dialect)
    opens, closes = quotes[0::2], quotes[1::2]
    pairs = len(closes)
    doubled = closes[: len(opens) - 1] + 1 == opens[1 : pairs + 1]  # closed and opened again: two that stand for one
    first = np.concatenate([[True], ~doubled]) if len(opens) else np.empty(0, bool)
    last = np.concatenate([~doubled, np.full(pairs - len(doubled), True)]) if pairs else np.empty(0, bool)
    return opens[first], closes[last]


def _is_regular(data: bytes, quotes: _Places, dialect: Dialect) -> bool:
    """Whether quotes in turn open at the beginning of a cell and close at its end, two in a row standing for one."""
    view = np.frombuffer(data, np.uint8)
    allowed = np.zeros(256, bool)
    allowed[[ord(dialect.delimiter), _LF, _CR, _QUOTE]] = True
    opens, closes = quotes[0::2], quotes[1::2]
    before = view.take(opens[1 if len(opens) and opens[0] == 0 else 0 :] - 1)
    after = view.take(closes[: -1 if len(closes) and closes[-1] == len(data) - 1 else None] + 1)
    return bool(allowed.take(before).all() and allowed.take(after).all())


def _walk_quotes(data: bytes, quotes: list[int], dialect: Dialect) -> tuple[_Places, _Places]:
    """Return where quotes are opened and closed, going from one to the next: some stand in the middle of cells."""
    starts = {ord(dialect.delimiter), _LF, _CR}
    opens, closes = [], []
    i = 0
    while i < len(quotes):
        opened = quotes[i]
        i += 1
        if opened and data[opened - 1] not in starts:
            continue
        while i + 1 < len(quotes) and quotes[i + 1] == quotes[i] + 1:
            i += 2
        opens.append(opened)
        if i == len(quotes):
            break
        closed = quotes[i]
        i += 1
        closes.append(closed)
        torn = closed + 1 < len(data) and data[closed + 1] not in starts
        if torn and (data.find(b"\n", opened, closed) != -1 or data.find(b"\r", opened, closed) != -1):
            raise QuoteError(opened, closed)
    return np.array(opens, np.intp), np.array(closes, np.intp)


def explain_quote(place: str, data: bytes, line: int, error: QuoteError) -> SourceError:
    """Return the sentence for a quote that is out of place in `data`, whose first line has the number `line`."""
    where = locate(data, error.opened, line)
    if error.closed is None:
        found = f"a quote is opened in {where} and never closed"
    else:
        closed = locate(data, error.closed, line)
        found = f"a quote that is opened in {where} is closed in {closed}, before other text"
    return SourceError(
        f"{place}: {found}; close it where its cell ends, or, if it belongs to the text, put the cell in quotes and "
        "write it twice"
    )
