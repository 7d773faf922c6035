"""The files of names that a user has, in the order in which they are asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardforge.errors import SourceError, UsageError
from shardforge.paths import require_local
from shardforge.taxonomy.cache import load_cached
from shardforge.taxonomy.checklist import Checklist, RawNames, make_checklist
from shardforge.taxonomy.darwin_core import is_darwin_core_part, read_darwin_core
from shardforge.taxonomy.delimited import list_parts
from shardforge.taxonomy.languages import normalise_language
from shardforge.taxonomy.ncbi import is_ncbi_part, read_ncbi
from shardforge.taxonomy.resolve import NameResolver
from shardforge.taxonomy.table import is_table_part, read_names_table

#: Kind -> what reads such files, and which files of a folder are read.
KINDS: dict[str, tuple[Callable[[Path], RawNames], Callable[[str], bool]]] = {
    "eol": (read_darwin_core, is_darwin_core_part),
    "gbif": (read_darwin_core, is_darwin_core_part),
    "dwca": (read_darwin_core, is_darwin_core_part),
    "ncbi": (read_ncbi, is_ncbi_part),
    "table": (read_names_table, is_table_part),
}


_LANGUAGE = "en"


@dataclass(frozen=True)
class NamesFile:
    """A file, folder or archive of names and its kind, one of KINDS."""

    kind: str
    path: Path

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}"


def parse_names_file(text: str) -> NamesFile:
    """Return what `KIND:PATH` names, the path absolute.

    Raises:
        UsageError: the text has another form, the kind is unknown, or nothing is there.
    """
    kind, _, location = text.partition(":")
    if kind not in KINDS or not location:
        raise UsageError(f"--names {text}: expected KIND:PATH with a kind of {', '.join(KINDS)}")
    require_local(location, f"--names {kind}:")
    path = Path(os.path.expanduser(location)).absolute()
    list_parts(path, KINDS[kind][1])
    return NamesFile(kind, path)


@dataclass(frozen=True)
class NamesChoice:
    """What a user chose about names.

    Attributes:
        files: The files in the order in which they are asked; none for no names.
        language: Of common names, a code or an English name; None for the one chosen before, else English.
        label_is_name: Whether the label of a record without ranks is its scientific name; None for as before, else no.
    """

    files: tuple[NamesFile, ...]
    language: str | None = None
    label_is_name: bool | None = None

    def after(self, before: NamesChoice | None) -> NamesChoice:
        """Return this choice with what it leaves open as it was before."""
        if before is None:
            return self
        language = before.language if self.language is None else self.language
        label_is_name = before.label_is_name if self.label_is_name is None else self.label_is_name
        return NamesChoice(self.files, language, label_is_name)

    def to_json(self) -> dict[str, Any]:
        """Return the choice as JSON can hold it."""
        files = [{"kind": file.kind, "path": str(file.path)} for file in self.files]
        return {"files": files, "language": self.language, "label_is_name": self.label_is_name}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> NamesChoice:
        """Return the choice that `to_json` wrote."""
        files = tuple(NamesFile(file["kind"], Path(file["path"])) for file in values["files"])
        return cls(files, values["language"], values["label_is_name"])


def open_names(choice: NamesChoice, *, cache: Path | None = None) -> NameResolver:
    """Read the files, or what the cache has of them (see `shardforge.taxonomy.cache`).

    Raises:
        UsageError: a file is gone, or no file has common names in the language.
        SourceError: a file cannot be read, or has no names.
        DatasetError: the cache cannot be written.
    """
    checklists = [_load(file, cache) for file in choice.files]
    language = normalise_language(choice.language or _LANGUAGE)
    known = sorted({code for checklist in checklists for code in checklist.languages()})
    if known and language not in known and "" not in known:
        raise UsageError(
            f"--language {choice.language or _LANGUAGE}: no file of names has common names in it; "
            f"they have {', '.join(known)}"
        )
    return NameResolver(checklists, language)


def _load(file: NamesFile, cache: Path | None) -> Checklist:
    read, is_part = KINDS[file.kind]
    parts = list_parts(file.path, is_part)
    checklist = load_cached(file.kind, parts, lambda: make_checklist(read(file.path)), cache)
    if not checklist.names.num_rows:
        raise SourceError(f"{file.path}: no row has a scientific name or a rank; fill them in, or leave --names out")
    return checklist
