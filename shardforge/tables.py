"""Tables as text, from others: what separates their columns, and in one sentence what is wrong with them."""

from __future__ import annotations

import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from shardforge.errors import SourceError

#: Suffixes of a compression that is undone while reading.
COMPRESSED = (".gz", ".bz2", ".zst")
#: Suffix -> what usually separates the columns.
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
#: Bytes that are parsed at a time; no row is longer.
BLOCK_BYTES = 16 << 20

#: What a damaged archive, compressed file or table raises; an encrypted member of a zip is a RuntimeError.
_ERRORS = (
    *(pa.ArrowException, OSError, EOFError, UnicodeDecodeError, RuntimeError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
_QUOTED = re.compile('"[^"]*"')
_NOT_UTF8 = re.compile("invalid UTF8|can't decode")
_RAGGED = re.compile(r"Expected (\d+) columns, got (\d+): (.{0,60})")


def choose_delimiter(place: Path | str, header: str, suffix: str) -> str:
    """Return what separates the columns of a table with this first line; in .csv also a semicolon or a tab.

    Raises:
        SourceError: it is none that the suffix allows.
    """
    usual, names = DELIMITERS[suffix], _QUOTED.sub("", header)
    found = next((delimiter for delimiter in (usual, *",;\t") if delimiter in names), usual)
    if found != usual and suffix != ".csv":
        raise SourceError(
            f"{place}: has columns separated by {found!r}; expected {usual!r}: write it so, or name it .csv"
        )
    return found


@contextmanager
def explained(place: Path | str) -> Iterator[None]:
    """Raise what the block meets in the file at `place` as a SourceError that says what to do."""
    try:
        yield
    except _ERRORS as error:
        raise SourceError(f"{place}: {_describe(error)}") from error


def _describe(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, PermissionError):
        return "not readable (permission denied); ask its owner for read permission"
    if _NOT_UTF8.search(text):
        return "not UTF-8 text; convert it, for instance by iconv -f latin1 -t utf-8"
    if ragged := _RAGGED.search(text):
        expected, found, row = ragged.groups()
        return f"a row has {found} columns where {expected} are expected ({row}); quote cells with commas, mend the row"
    if "Empty CSV file" in text:
        return "has no rows; expected a line that names the columns, and rows below it"
    if "straddling" in text:
        return "a row is longer than 16 MiB; is a quote left open, or a text in the wrong column?"
    if isinstance(error, RuntimeError) and not isinstance(error, pa.ArrowException):
        return f"cannot be unpacked here ({text}); unpack it and name the folder"
    return f"cannot be read ({text}); it is damaged, cut short or of another format: get it again"
