"""How a table in text is written: what separates its columns, and whether its cells may stand in quotes.

In `.csv` a quote at the beginning of a cell quotes it. In `.tsv`, `.tab` and `.txt`, as Darwin Core, GBIF and EOL write
them, a quote is a letter like others, unless every name in the header stands in quotes, or a `meta.xml` says that
cells do.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from shardforge.errors import SourceError, shorten

#: Suffix -> what usually separates the columns.
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
#: Suffixes of a compression that is undone while reading.
COMPRESSED = (".gz", ".bz2", ".zst")

_QUOTED = re.compile('"[^"]*"')
_NAME = '"(?:[^"]|"")*"'


@dataclass(frozen=True)
class Dialect:
    """What separates columns, one ASCII character, and whether a cell that begins with `"` ends with the next one."""

    delimiter: str
    quoted: bool

    def iter_rows(self, text: str) -> Iterator[tuple[int, list[str]]]:
        """Yield how many lines stand before each row of `text` that is not empty, and its cells, as Python's csv does.

        Raises:
            csv.Error: a cell is longer than `csv.field_size_limit()`.
        """
        lines = io.StringIO(text, newline="")
        if self.quoted:
            reader = csv.reader(lines, delimiter=self.delimiter)
        else:
            reader = csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE)
        line = 0
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num


def find_dialect(place: str, header: str, suffix: str) -> Dialect:
    """Return how a table with this first line is written; in .csv also a semicolon or a tab may separate columns.

    Raises:
        SourceError: the columns are separated by what the suffix does not allow.
    """
    usual, names = DELIMITERS[suffix], _QUOTED.sub("", header)
    found = next((delimiter for delimiter in (usual, *",;\t") if delimiter in names), usual)
    if found != usual and suffix != ".csv":
        raise SourceError(
            f"{place}: has columns separated by {found!r}; expected {usual!r}: write it so, or name it .csv "
            f"(it begins with {shorten(header)})"
        )
    return Dialect(found, suffix == ".csv" or bool(re.fullmatch(f"{_NAME}(?:{found}{_NAME})*", header)))
