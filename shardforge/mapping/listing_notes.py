"""What a user should know about a listing as a whole: paths that are none, rows said twice, cells that say nothing."""

from __future__ import annotations

from collections import Counter

from shardforge.errors import SourceError, shorten
from shardforge.mapping.base import Mapping
from shardforge.mapping.repeated import Repeated
from shardforge.paths import path_from_text
from shardforge.samples import Note
from shardforge.sources import SourceSpec
from shardforge.sources.metadata import Metadata

_TEXTS = {
    "repeated": "rows that say again what others say of their image: {count}, such as {example}; each image is mapped "
    "once",
    "twice": "images that are listed several times, with differences: {count}, such as {example}; they have the reason "
    "twice and cannot be used: keep one row of each",
    "urls": "paths that are URLs: {count}, such as {example}; download the images first, and name the files",
    "disks": "paths that name a disk of Windows, with backslashes: {count}, such as {example}; write them from the "
    "folder of the list, or from the option root",
    "no_names": "cells at ranks that say that there is no name: {count}, such as '{example}'; they are read as empty",
    "ambiguous": "images of which rows of the metadata say different things: {count}, such as those with {example}; "
    "nothing is joined to them: keep one row for each value",
}


def note_paths(mapping: Mapping, spec: SourceSpec, listed: int) -> list[Note]:
    """Return notes on paths that cannot be those of files here.

    Raises:
        SourceError: none of the paths can be.
    """
    [(urls, url, disks, disk)] = mapping.rows(mapping.query("select_foreign_paths"))
    shown = [shorten(path_from_text(path or "").decode(errors="backslashreplace"), 120) for path in (url, disk)]
    if urls + disks == listed:
        kind = "urls" if urls else "disks"
        what, _, remedy = _TEXTS[kind].partition(": {count}, such as {example}")
        raise SourceError(
            f"source {spec.name!r}: {spec.file or spec.root} has only {what}, such as {shown[0 if urls else 1]}{remedy}"
        )
    return [*_make("urls", urls, shown[0]), *_make("disks", disks, shown[1])]


def note_repeated(repeated: Repeated) -> list[Note]:
    """Return notes on rows of one path."""
    return [
        *_make("repeated", repeated.rows - repeated.torn_rows, shorten(repeated.path, 120)),
        *_make("twice", repeated.torn, shorten(repeated.torn_path, 120)),
    ]


def note_names(dropped: Counter[str]) -> list[Note]:
    """Return a note on cells that were dropped, with the most frequent of them."""
    return _make("no_names", dropped.total(), shorten(dropped.most_common(1)[0][0]) if dropped else "")


def note_metadata(metadata: Metadata | None) -> list[Note]:
    """Return a note on images that no row was joined to, because rows differ."""
    if metadata is None:
        return []
    return _make("ambiguous", metadata.torn, f"{metadata.on} '{shorten(metadata.example)}'")


def _make(code: str, count: int, example: str) -> list[Note]:
    return [Note(code, count, example, _TEXTS[code].format(count=f"{count:,}", example=example))] if count else []
