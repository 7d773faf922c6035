"""What is wrong with a file of names, in one sentence."""

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

#: What a damaged archive, compressed file or table raises; an encrypted member of a zip is a RuntimeError.
_ERRORS = (
    *(pa.ArrowException, OSError, EOFError, UnicodeDecodeError, RuntimeError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
_NOT_UTF8 = re.compile("invalid UTF8|can't decode")
_RAGGED = re.compile(r"Expected (\d+) columns, got (\d+): (.{0,60})")


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
        return "has no rows; expected one for each name"
    if "straddling" in text:
        return "a row is longer than 16 MiB; is a quote left open, or a text in the wrong column?"
    if isinstance(error, RuntimeError) and not isinstance(error, pa.ArrowException):
        return f"cannot be unpacked here ({text}); unpack it and name the folder"
    return f"cannot be read ({text}); it is damaged, cut short or of another format: get it again"
