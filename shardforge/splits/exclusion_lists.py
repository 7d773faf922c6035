"""Exclusion lists as files: text, CSV, TSV (.tsv, .tab) or JSON, read into entries that say what they name."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from shardforge.errors import SourceError, UsageError
from shardforge.paths import require_local
from shardforge.records import RANKS
from shardforge.tables.formats import HEAD_BYTES, JSON, LINES, refuse_other_formats
from shardforge.tables.rows import read_rows
from shardforge.taxonomy.taxon import is_epithet

#: Columns of a table, in lower case, and what they name. Of several filled ones the first decides: what names one
#: record stands before what names many.
_COLUMNS = {
    "key": "key",
    **dict.fromkeys(("path", "file", "filename", "file_name"), "path"),
    "content_hash": "content_hash",
    **dict.fromkeys(("id", "image_id", "eol_content_id", "content_id", "processid", "sampleid"), "id"),
    **dict.fromkeys(("scientific_name", "scientificname", "sciname", *reversed(RANKS), "taxon", "label"), "taxon"),
}
_TABLES = (".csv", ".tsv", ".tab")
_LINES = ("", ".txt", ".list", ".lst")
_IMAGE_FILE = re.compile(r"\.(jpe?g|jp2|png|webp|gif|bmp|tiff?|heic|avif|ppm)$", re.IGNORECASE)


class Entry(NamedTuple):
    """One entry of a list; `kind` is key, path, content_hash, id, taxon, or any when the file does not say.

    A row of a table that fills none of its known columns is an entry of the kind nothing, so that it is counted.
    """

    text: str
    kind: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class ExclusionList:
    """A list by its name and file; with `taxa`, what names taxa in it keeps out all their records.

    That is every line of a text or JSON list, the names of the lists in a JSON object, and the names in a table beside
    the images there.
    """

    name: str
    path: Path
    taxa: bool = False

    def read(self) -> list[Entry]:
        """Return the distinct entries.

        Raises:
            UsageError: the file cannot be read, is not what its suffix says, or has a suffix that no list has.
        """
        suffix = self.path.suffix.lower()
        readers = {**dict.fromkeys(_TABLES, _read_table), **dict.fromkeys(_LINES, _read_lines), ".json": _read_json}
        read = readers.get(suffix)
        if read is None:
            raise UsageError(
                f"{self.path}: not a kind of exclusion list; give lines of text (.txt, .list, or no suffix), a table "
                "(.csv, .tsv, .tab) or .json"
            )
        try:
            entries = list(dict.fromkeys(read(self.path, self.taxa)))
            "".join(part or "" for entry in entries for part in entry).encode()
        except SourceError as error:
            raise UsageError(str(error)) from error
        except (OSError, ValueError, csv.Error, RecursionError) as error:
            raise UsageError(f"{self.path}: {_explain(error)}") from error
        return entries


def parse_list(text: str, *, taxa: bool = False) -> ExclusionList:
    """Return the list that `FILE` or `NAME=FILE` names; without a name it has that of its file, less the suffix.

    Raises:
        UsageError: the name or the file is empty.
    """
    require_local(text, "exclusion list")
    name, equals, file = text.partition("=")
    if not equals or Path(text).is_file():
        return ExclusionList(Path(text).stem, Path(text), taxa)
    if not name or not file:
        raise UsageError(f"exclusion list {text}: give it as FILE or NAME=FILE")
    require_local(file, f"exclusion list {name}=")
    return ExclusionList(name, Path(file), taxa)


def check_names(lists: Sequence[ExclusionList]) -> None:
    """Refuse two lists of one name.

    Raises:
        UsageError: there are such.
    """
    files: dict[str, Path] = {}
    for one in lists:
        if one.name in files:
            raise UsageError(
                f"two exclusion lists are named '{one.name}', {files[one.name]} and {one.path}; "
                "name one of them otherwise: NAME=FILE"
            )
        files[one.name] = one.path


def _explain(error: Exception) -> str:
    """Return what is wrong with a file that cannot be read as a list, and what to do."""
    match error:
        case OSError():
            return f"cannot be read ({error.strerror}); name an existing exclusion list"
        case UnicodeEncodeError():
            return "half a surrogate pair in an entry is no text; mend the exclusion list"
        case UnicodeDecodeError():
            return f"not UTF-8 ({error.reason} at byte {error.start:,}); save the exclusion list as UTF-8"
        case json.JSONDecodeError(doc=""):
            return "empty, which is not JSON; write [] for an exclusion list without entries"
        case json.JSONDecodeError():
            return f"not JSON ({error}); mend the exclusion list"
        case RecursionError():
            return "lists inside lists without end; expected a list of texts, or an object of such lists"
    return f"not a table ({error}); mend the exclusion list"


def _check_format(path: Path, expected: str) -> None:
    with open(path, "rb") as file:
        refuse_other_formats(path, file.read(HEAD_BYTES), expected)


def _read_lines(path: Path, taxa: bool) -> Iterator[Entry]:
    _check_format(path, LINES)
    with open(path, encoding="utf-8-sig") as lines:
        for line in lines:
            text = line.strip()
            if text and not text.startswith("#"):
                yield Entry(text, "taxon" if taxa else _guess_kind(text), None)


def _read_json(path: Path, taxa: bool) -> Iterator[Entry]:
    _check_format(path, JSON)
    # Pairs, as a key may stand there twice; no whole number is an entry, and one of any length is a float.
    content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=tuple, parse_int=float)
    named = isinstance(content, tuple)
    lists: Sequence[tuple[str | None, Any]] = content if named else [(None, content)]
    for reason, entries in lists:
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise UsageError(
                f"{path}: an exclusion list in JSON is a list of texts, or an object of such lists by reason"
            )
        if taxa and reason and reason.strip():
            yield Entry(reason.strip(), "taxon", reason)
        for entry in filter(None, map(str.strip, entries)):
            yield Entry(entry, "taxon" if taxa and not named else _guess_kind(entry), reason)


def _guess_kind(text: str) -> str:
    """Return path for what can only be a file, so that `Felis_catus_5.jpg` is never taken for a cat of that name."""
    return "path" if "/" in text or _IMAGE_FILE.search(text) else "any"


def _read_table(path: Path, taxa: bool) -> Iterator[Entry]:
    names, rows = read_rows(path, path.suffix.lower())
    header = [name.strip().lower() for name in names]
    if not set(header) & set(_COLUMNS):
        raise UsageError(
            f"{path}: the header names none of {', '.join(_COLUMNS)}; name the column that holds the entries"
        )
    for line, cells in rows:
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=False) if cell.strip()}
        filled = [name for name in _COLUMNS if name in row]
        images = [name for name in filled if _COLUMNS[name] != "taxon"][:1]
        named = [name for name in filled if _COLUMNS[name] == "taxon"][:1]
        if row and not filled:
            yield Entry(f"line {line}, which names nothing", "nothing", row.get("reason"))
        for name in [*images, *named] if taxa else (images or named):
            yield Entry(_cell(row, name), _COLUMNS[name], row.get("reason"))


def _cell(row: dict[str, str], name: str) -> str:
    """Return what a row names; a species that is written without its genus with it."""
    if name == "species" and "genus" in row and is_epithet(row[name], row["genus"]):
        return f"{row['genus']} {row[name]}"
    return row[name]
