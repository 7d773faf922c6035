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
import pyarrow.csv
import pyarrow.parquet

from shardforge.errors import SourceError, UsageError
from shardforge.tables import BLOCK_BYTES, COMPRESSED, DELIMITERS, choose_delimiter, explained

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
_SHOWN = 200

#: Column -> the names that files give it, in lower case, the strongest first.
Aliases = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Part:
    """An open file of names.

    Attributes:
        name: Its own name, without the suffix of a compression that is undone already.
        place: Where it is, for messages: a path, which goes on inside an archive.
        stream: Its content.
    """

    name: str
    place: str
    stream: IO[bytes]


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


def open_parts(path: Path, wanted: Callable[[str], bool]) -> Iterator[Part]:
    """Yield each file of `list_parts`; those inside an archive when `path` is one.

    Raises:
        SourceError: a file cannot be read, or an archive has none that is wanted.
    """
    empty = True
    for part in _open_all(list_parts(path, wanted), wanted):
        yield part
        empty = False
    if empty:
        raise SourceError(f"{path}: no file of names is in this archive; name the file itself")


def _open_all(files: Sequence[Path], wanted: Callable[[str], bool]) -> Iterator[Part]:
    for file in files:
        with explained(file):
            if not file.name.lower().endswith(_ARCHIVES):
                with pa.input_stream(file) as stream:  # decompresses what the suffix says
                    yield Part(file.name.removesuffix(_compression(file.name)), str(file), io.BufferedReader(stream))
            elif file.suffix.lower() == ".zip":
                yield from _open_zip(file, wanted)
            else:
                yield from _open_tar(file, wanted)


def read_columns(part: Part, aliases: Aliases) -> pa.Table:
    """Return the columns of a table that `aliases` knows, under their own names, as text; "" becomes null.

    Its name tells the format by its suffix. In `.csv` a `"` quotes, in tables of other suffixes it does not.

    Raises:
        SourceError: the table has none of the columns, or is no such table.
    """
    suffix = PurePosixPath(part.name).suffix.lower()
    with explained(part.place):
        if suffix == ".parquet":
            return _read_parquet(part, aliases)
        if suffix not in DELIMITERS:
            raise SourceError(f"{part.place}: not a table; expected {', '.join((*DELIMITERS, '.parquet'))}")
        return _read_text(part, aliases, suffix)


def read_dump(part: Part, fields: Sequence[str]) -> pa.Table:
    r"""Return the first fields of an NCBI dump, which end in `\t|\t` (in rows: `\t|\n`), as text.

    Raises:
        SourceError: it is no such dump.
    """
    places = [f"f{2 * i}" for i in range(len(fields))]  # every other column is the bar
    parse = pa.csv.ParseOptions(delimiter="\t", quote_char=False)
    read = pa.csv.ReadOptions(autogenerate_column_names=True, block_size=BLOCK_BYTES)
    convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(places, pa.string()), include_columns=places)
    with explained(part.place):
        return pa.csv.read_csv(part.stream, read, parse, convert).rename_columns(list(fields))


def _read_text(part: Part, aliases: Aliases, suffix: str) -> pa.Table:
    quoted = suffix == ".csv"
    delimiter, columns = _read_header(part, suffix)
    chosen = _choose(part.place, columns, aliases)
    parse = pa.csv.ParseOptions(delimiter=delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted)
    read = pa.csv.ReadOptions(column_names=_distinct(columns), block_size=BLOCK_BYTES)
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(chosen.values(), pa.string()),
        include_columns=list(chosen.values()),
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
        null_values=[""],
    )
    return pa.csv.read_csv(part.stream, read, parse, convert).rename_columns(list(chosen))


def _read_header(part: Part, suffix: str) -> tuple[str, list[str]]:
    """Return what separates the columns, and their names."""
    head = part.stream.readline().decode("utf-8-sig").rstrip("\r\n")
    if not head:
        raise SourceError(f"{part.place}: begins with an empty line or is empty; expected a header of column names")
    delimiter = choose_delimiter(part.place, head, suffix)
    return delimiter, [column.strip('"') for column in head.split(delimiter)]


def _read_parquet(part: Part, aliases: Aliases) -> pa.Table:
    with pa.parquet.ParquetFile(pa.BufferReader(part.stream.read())) as file:
        chosen = _choose(part.place, file.schema_arrow.names, aliases)
        table = file.read(columns=list(chosen.values())).select(list(chosen.values()))
    text = pa.schema([(column, pa.string()) for column in table.column_names])
    return table.cast(text).rename_columns(list(chosen))


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
        raise SourceError(f"{place}: has the columns {', '.join(columns[:12])[:_SHOWN]}; expected some of {known}")
    return chosen


def _distinct(columns: list[str]) -> list[str]:
    """Return the names of the columns, those that occur again with their number: only the first can be asked for."""
    return [name if name not in columns[:i] else f"{name} {i}" for i, name in enumerate(columns)]


def _open_zip(file: Path, wanted: Callable[[str], bool]) -> Iterator[Part]:
    with zipfile.ZipFile(file) as archive:
        for name in sorted(archive.namelist()):
            if wanted(PurePosixPath(name).name):
                with archive.open(name) as stream:
                    yield Part(PurePosixPath(name).name, f"{file}/{name}", stream)


def _open_tar(file: Path, wanted: Callable[[str], bool]) -> Iterator[Part]:
    with tarfile.open(file, "r|*") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if member.isfile() and wanted(name):
                stream: Any = archive.extractfile(member)
                yield Part(name, f"{file}/{member.name}", stream)


def _compression(name: str) -> str:
    return next((suffix for suffix in COMPRESSED if name.lower().endswith(suffix)), "")
