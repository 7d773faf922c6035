"""A table in text, CSV or TSV: its header, and its rows as Arrow tables of text or one by one."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from shardforge.errors import SourceError, shorten
from shardforge.tables.blocks import (
    BLOCK_BYTES,
    Block,
    QuoteError,
    count_lines,
    explain_quote,
    find_first_end,
    find_swallowed,
    iter_blocks,
    read_full,
)
from shardforge.tables.dialect import Dialect, find_dialect
from shardforge.tables.formats import HEAD_BYTES, refuse_other_formats

if TYPE_CHECKING:
    import pyarrow as pa

_BOM = b"\xef\xbb\xbf"
#: With so many more lines than rows a block is looked at for rows that a quote has swallowed.
_MANY_LINES = 10


class TextTable:
    """A table in UTF-8 text that is read once, from its beginning to its end.

    Empty lines are passed over, and so is a byte-order mark.

    Args:
        stream: Its bytes.
        place: Where it is, for messages.
        suffix: That of its name, which says how it is written (see `shardforge.tables.dialect`).
        dialect: How it is written, where that is known otherwise.
        header: Whether its first row names the columns; else these are named "1", "2" and so on.
        size: Bytes to read at a time.

    Attributes:
        dialect: How it is written.
        names: The names of its columns, in its order, as the header has them.

    Raises:
        SourceError: it is empty, of another format, or not UTF-8; or its columns are separated by what the suffix does
            not allow.
    """

    def __init__(
        self,
        stream: IO[bytes],
        place: Path | str,
        suffix: str,
        *,
        dialect: Dialect | None = None,
        header: bool = True,
        size: int = BLOCK_BYTES,
    ) -> None:
        self._stream, self._place, self._size = stream, str(place), size
        self._head, self._line, self._final = b"", 1, False
        self._read_head()
        refuse_other_formats(self._place, self._head[:HEAD_BYTES])
        self._drop_empty_lines()
        if not self._head:
            raise SourceError(f"{place}: has no rows; expected a line that names the columns, and rows below it")
        if dialect is None:
            end = self._end_first_row(Dialect("", quoted=False))
            line = self._decode(self._head[:end].rstrip(b"\r\n"), self._line)
            dialect = find_dialect(self._place, line, suffix)
        self.dialect = dialect
        end = self._end_first_row(dialect)
        first = self._head[:end]
        [(_, cells)] = dialect.iter_rows(self._decode(first, self._line))
        self.names = cells if header else [str(number) for number in range(1, len(cells) + 1)]
        if header:
            self._head = self._head[len(first) :]
            self._line += count_lines(first)

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows as Arrow tables of text, empty cells null.

        Args:
            columns: Which columns, in this order, of equal names the first; all when not given.

        Raises:
            SourceError: there is no row; a row has more or fewer cells than the header, a quote is out of place, or a
                cell that is asked for is not UTF-8.
        """
        chosen = range(len(self.names)) if columns is None else [self.names.index(name) for name in columns]
        empty = True
        for block in self._blocks():
            table = self._parse(block, list(map(str, chosen)))
            if table is not None and table.num_rows:
                self._check_swallowed(block, table.num_rows)
                empty = False
                yield table.rename_columns([self.names[place] for place in chosen])
        if empty:
            raise SourceError(f"{self._place}: has no rows below the line that names its columns; name a whole table")

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows, each with the number of its first line; a row may have more or fewer cells than the header.

        Raises:
            SourceError: a quote is out of place, or the text is not UTF-8.
            csv.Error: a cell is longer than `csv.field_size_limit()`.
        """
        for block in self._blocks():
            count = 0
            for before, cells in self.dialect.iter_rows(self._decode(block.data[: block.end], block.line)):
                yield block.line + before, cells
                count += 1
            self._check_swallowed(block, count)

    def _read_head(self) -> None:
        """Read a block, in which the header is looked for, or one more."""
        wanted = max(self._size, HEAD_BYTES)
        more = read_full(self._stream, wanted)
        self._head += more
        self._final = len(more) < wanted

    def _drop_empty_lines(self) -> None:
        """Drop the byte-order mark and the empty lines before the first row."""
        text = self._head.removeprefix(_BOM)
        self._head = text.lstrip(b"\r\n")
        self._line += count_lines(text[: len(text) - len(self._head)])

    def _end_first_row(self, dialect: Dialect) -> int:
        """Return where the first row ends, with its end of line."""
        while True:
            try:
                end = find_first_end(self._head, dialect, final=self._final)
            except QuoteError as error:
                raise explain_quote(self._place, self._head, self._line, error) from None
            if end is not None:
                return end
            if len(self._head) > BLOCK_BYTES:
                raise SourceError(f"{self._place}: a row is longer than 16 MiB, the one that names the columns")
            self._read_head()

    def _blocks(self) -> Iterator[Block]:
        head, self._head = self._head, b""
        return iter_blocks(self._stream, self.dialect, self._place, head=head, line=self._line, size=self._size)

    def _parse(self, block: Block, chosen: list[str]) -> pa.Table | None:
        """Return the columns with these numbers; None for a block without rows."""
        import pyarrow as pa
        import pyarrow.csv as pacsv

        data = pa.py_buffer(block.data).slice(0, block.end)
        if block.data.startswith(_BOM):  # text where it is not at the beginning; behind an empty line Arrow keeps it
            data = b"\n" + block.data[: block.end]
        read = pacsv.ReadOptions(column_names=list(map(str, range(len(self.names)))), block_size=len(data) + 1)
        parse = pacsv.ParseOptions(
            delimiter=self.dialect.delimiter,
            quote_char='"' if self.dialect.quoted else False,
            newlines_in_values=self.dialect.quoted,
        )
        convert = pacsv.ConvertOptions(
            column_types=dict.fromkeys(chosen, pa.string()),
            include_columns=chosen,
            strings_can_be_null=True,
            null_values=[""],
        )
        try:
            return pacsv.read_csv(pa.BufferReader(data), read, parse, convert)
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                return None
            with suppress(csv.Error):
                self._refuse_ragged(block)
            self._decode(block.data[: block.end], block.line)
            raise

    def _refuse_ragged(self, block: Block) -> None:
        expected = len(self.names)
        for before, cells in self.dialect.iter_rows(block.data[: block.end].decode(errors="replace")):
            if len(cells) != expected:
                row = shorten(self.dialect.delimiter.join(cells))
                remedy = "quote cells with commas, mend the row"
                if not self.dialect.quoted:
                    remedy = "mend the row"
                    if '"' in row:
                        remedy += ", or, if its cells are quoted, quote all names in the header, or name it .csv"
                raise SourceError(
                    f"{self._place}: a row has {len(cells)} columns where {expected} are expected ({row}), line "
                    f"{block.line + before:,}; {remedy}"
                )

    def _check_swallowed(self, block: Block, rows: int) -> None:
        if block.lines - rows >= _MANY_LINES and (where := find_swallowed(block, self.dialect, len(self.names))):
            raise SourceError(
                f"{self._place}: a quote that is opened in {where} holds what looks like rows of the table; if it "
                "belongs to the text, put the cell in quotes and write it twice"
            )

    def _decode(self, data: bytes, line: int) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            line += count_lines(data[: error.start])
            raise SourceError(
                f"{self._place}: not UTF-8 text; convert it, for instance by iconv -f latin1 -t utf-8 (line {line:,})"
            ) from error
