"""Tables as text or Parquet, in a folder, a tar or a zip: the columns asked for, by any of the names they have."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from shardforge.errors import SourceError, UsageError, shorten_list
from shardforge.tables.archive_meta import META_NAME, MOST_BYTES, Declared, read_meta, read_meta_beside
from shardforge.tables.dialect import COMPRESSED, DELIMITERS, Dialect
from shardforge.tables.faults import explained
from shardforge.tables.numbers import as_whole, restore_whole_numbers
from shardforge.tables.parquet import open_parquet
from shardforge.tables.text import TextTable

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
#: How the tables of an NCBI dump are written; every other column is a bar.
_DUMP = Dialect("\t", quoted=False)

#: Column -> the names that files give it, in lower case, the strongest first.
Aliases = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Part:
    """An open file of names.

    Attributes:
        name: Its own name, without the suffix of a compression that is undone already.
        place: Where it is, for messages: a path, which goes on inside an archive.
        stream: Its content.
        dialect: How it is written, where a `meta.xml` says so.
    """

    name: str
    place: str
    stream: IO[bytes]
    dialect: Dialect | None = None


def list_parts(path: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """Return the files that are read for `path`: itself, or those in a folder whose name is `wanted`, in order.

    Raises:
        UsageError: nothing is there.
        SourceError: a folder may not be read.
    """
    with explained(path):
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise UsageError(f"--names {path}: no such file or folder; name another, or forget it by --names none")
        parts = sorted(part for part in path.iterdir() if wanted(part.name) and part.is_file())
    if not parts:
        raise UsageError(f"--names {path}: no file of names is in this folder; name the file itself")
    return parts


def open_parts(path: Path, wanted: Callable[[str], bool], *, declared: bool = True) -> Iterator[Part]:
    """Yield each file of `list_parts`; those inside an archive when `path` is one.

    With `declared`, a `meta.xml` beside them may say how they are written.

    Raises:
        SourceError: a file cannot be read, or an archive has none that is wanted.
    """
    empty = True
    for part in _open_all(list_parts(path, wanted), wanted, declared):
        yield part
        empty = False
    if empty:
        raise SourceError(f"{path}: no file of names is in this archive; name the file itself")


def _open_all(files: Sequence[Path], wanted: Callable[[str], bool], declared: bool) -> Iterator[Part]:
    for file in files:
        with explained(file):
            if not file.name.lower().endswith(_ARCHIVES):
                name = file.name.removesuffix(_compression(file.name))
                with pa.input_stream(file) as stream:  # decompresses what the suffix says
                    yield Part(name, str(file), io.BufferedReader(stream), read_meta_beside(file) if declared else None)
            elif file.suffix.lower() == ".zip":
                yield from _open_zip(file, wanted, declared)
            else:
                yield from _open_tar(file, wanted, declared)


def read_columns(part: Part, aliases: Aliases) -> pa.Table:
    """Return the columns of a table that `aliases` knows, under their own names, as text; "" becomes null.

    Its name tells the format by its suffix (see `shardforge.tables.dialect`), or a `meta.xml` beside it does. Whole
    numbers that were written as floats, for want of some in their column, are whole again.

    Raises:
        SourceError: the table has none of the columns, or is no such table.
    """
    suffix = PurePosixPath(part.name).suffix.lower()
    with explained(part.place):
        if suffix == ".parquet":
            return _read_parquet(part, aliases)
        if suffix not in DELIMITERS:
            raise SourceError(f"{part.place}: not a table; expected {', '.join((*DELIMITERS, '.parquet'))}")
        text = TextTable(part.stream, part.place, suffix, dialect=part.dialect)
        chosen = _choose(part.place, text.names, aliases)
        distinct = list(dict.fromkeys(chosen.values()))
        table = restore_whole_numbers(pa.concat_tables(text.tables(distinct)))
        return table.select(list(chosen.values())).rename_columns(list(chosen))


def read_dump(part: Part, fields: Sequence[str]) -> pa.Table:
    r"""Return the first fields of an NCBI dump, which end in `\t|\t` (in rows: `\t|\n`), as text; "" becomes null.

    Raises:
        SourceError: it is no such dump.
    """
    with explained(part.place):
        text = TextTable(part.stream, part.place, ".dmp", dialect=_DUMP, header=False)
        places = text.names[: 2 * len(fields) : 2]
        if len(places) < len(fields):
            raise SourceError(f"{part.place}: its rows have {len(places)} fields; expected those of a taxonomy dump")
        return pa.concat_tables(text.tables(places)).rename_columns(list(fields))


def _read_parquet(part: Part, aliases: Aliases) -> pa.Table:
    with open_parquet(io.BytesIO(part.stream.read()), part.place) as file:
        chosen = _choose(part.place, file.schema_arrow.names, aliases)
        table = file.read(columns=list(chosen.values())).select(list(chosen.values()))
    columns = {name: _as_text(column) for name, column in zip(chosen, table.columns, strict=True)}
    return pa.table(columns)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text; whole numbers that a program wrote as floats are whole."""
    if pa.types.is_floating(column.type):
        return pa.chunked_array([[None if value is None else str(as_whole(value)) for value in column.to_pylist()]])
    return column.cast(pa.string())


def _choose(place: str, columns: list[str], aliases: Aliases) -> dict[str, str]:
    """Return column as asked for -> column of the file; case and a prefix such as `dwc:` do not matter."""
    plain = {column.rpartition(":")[2].strip().lower().replace(" ", "_"): column for column in reversed(columns)}
    chosen = {
        wanted: next(plain[alias] for alias in names if alias in plain)
        for wanted, names in aliases.items()
        if any(alias in plain for alias in names)
    }
    if not chosen:
        known = ", ".join(names[0] for names in aliases.values())
        raise SourceError(f"{place}: has the columns {shorten_list(columns)}; expected some of {known}")
    return chosen


def _open_zip(file: Path, wanted: Callable[[str], bool], declared: bool) -> Iterator[Part]:
    with zipfile.ZipFile(file) as archive:
        dialects: Declared = {}
        for info in archive.infolist() if declared else ():
            if PurePosixPath(info.filename).name == META_NAME and info.file_size <= MOST_BYTES:
                dialects |= read_meta(archive.read(info), f"{file}/{info.filename}")
        for path in sorted(archive.namelist()):
            name = PurePosixPath(path).name
            if wanted(name):
                with archive.open(path) as stream:
                    yield Part(name, f"{file}/{path}", stream, dialects.get(name))


def _open_tar(file: Path, wanted: Callable[[str], bool], declared: bool) -> Iterator[Part]:
    dialects = _read_meta_of_tar(file) if declared else {}
    with tarfile.open(file, "r|*") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if member.isfile() and wanted(name):
                stream: Any = archive.extractfile(member)
                yield Part(name, f"{file}/{member.name}", stream, dialects.get(name))


def _read_meta_of_tar(file: Path) -> Declared:
    """Return what a `meta.xml` declares, which may stand behind the tables in the tar."""
    dialects: Declared = {}
    with tarfile.open(file, "r|*") as archive:
        for member in archive:
            if PurePosixPath(member.name).name == META_NAME and member.isfile() and member.size <= MOST_BYTES:
                stream: Any = archive.extractfile(member)
                dialects |= read_meta(stream.read(), f"{file}/{member.name}")
    return dialects


def _compression(name: str) -> str:
    return next((suffix for suffix in COMPRESSED if name.lower().endswith(suffix)), "")
