"""What is wrong with a table of others, in one sentence that says where and what to do."""

from __future__ import annotations

import csv
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from shardforge.errors import SourceError, shorten

#: What a damaged archive, compressed file or table raises; an encrypted member of a zip is a RuntimeError.
_ERRORS = (
    *(pa.ArrowException, OSError, EOFError, UnicodeDecodeError, RuntimeError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, csv.Error),
)
_NOT_UTF8 = re.compile("invalid UTF8|can't decode")


@contextmanager
def explained(place: Path | str) -> Iterator[None]:
    """Raise what the block meets in the file at `place` as a SourceError that says what to do."""
    try:
        yield
    except _ERRORS as error:
        raise SourceError(f"{place}: {_describe(error)}") from error


def not_utf8(line: int | None = None) -> str:
    """Return what to say of text that is not UTF-8, and where it begins if that is known."""
    where = "" if line is None else f" (line {line:,})"
    return f"not UTF-8 text; convert it, for instance by iconv -f latin1 -t utf-8{where}"


def refuse_repeated(place: Path | str, names: Sequence[str]) -> None:
    """Refuse columns of one name.

    Raises:
        SourceError: there are such.
    """
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if (before := first.setdefault(name, number)) != number:
            raise SourceError(
                f"{place}: column '{shorten(name)}' occurs twice, as columns {before} and {number}; rename one"
            )


def _describe(error: Exception) -> str:
    text = shorten(str(error).strip().partition("\n")[0] or type(error).__name__, 200)
    if isinstance(error, PermissionError):
        return "not readable (permission denied); ask its owner for read permission"
    if _NOT_UTF8.search(text):
        return not_utf8()
    if isinstance(error, RuntimeError) and not isinstance(error, pa.ArrowException):
        return f"cannot be unpacked here ({text}); unpack it and name the folder"
    return f"cannot be read ({text}); it is damaged, cut short or of another format: get it again"
