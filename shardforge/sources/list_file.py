"""Kind `list`: a text file with one image a line, `path label` or `path`."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from shardforge.errors import SourceError
from shardforge.paths import path_to_text
from shardforge.samples import IMAGE_SUFFIXES
from shardforge.sources.base import SourceSpec, choose, locate_file
from shardforge.sources.listing import batched
from shardforge.sources.written_paths import make_named_batch
from shardforge.tables.formats import HEAD_BYTES, LINES, refuse_other_formats

_SEPARATORS = {"tab": b"\t", "comma": b",", "space": b" "}
_SUFFIXES = tuple(suffix.encode() for suffix in IMAGE_SUFFIXES)


class ListSource:
    """A text file with one image a line.

    The label is what stands after the last separator. Without the option `separator` that is the tab if the line has
    one, else the last run of spaces, unless an image's suffix ends the line: then all of it is the path.
    """

    options: ClassVar[Mapping[str, str]] = {
        "separator": "tab, comma, space, or none: lines are paths (default: auto, a tab if there is one, else spaces)",
        "root": "the folder that paths start from, named from the folder of the list (default: that folder)",
    }
    locate = staticmethod(locate_file)

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self._separator = choose(spec, "separator", ("auto", *_SEPARATORS, "none"), "auto")

    def list(self) -> Iterator[pa.Table]:
        """Yield a record per line, in the order of the list.

        Raises:
            SourceError: the list is of another format, or names no image.
        """
        file = self.spec.file
        assert file is not None
        empty = True
        for batch in batched(self._read_lines(file)):
            names, labels = zip(*batch, strict=True)
            empty = False
            yield make_named_batch(self.spec, names, {"label": labels})
        if empty:
            raise SourceError(f"{file}: names no image; expected one a line, as a path or as a path and its label")

    def _read_lines(self, file: Path) -> Iterator[tuple[bytes, str | None]]:
        """Yield path and label of each line."""
        with open(file, "rb") as lines:
            refuse_other_formats(file, lines.peek(HEAD_BYTES)[:HEAD_BYTES], LINES)
            for number, line in enumerate(lines):
                text = (line if number else line.removeprefix(codecs.BOM_UTF8)).strip()
                if text and not text.startswith(b"#"):
                    yield self._split(text)

    def _split(self, line: bytes) -> tuple[bytes, str | None]:
        """Return path and label."""
        separator = self._separator
        if separator == "auto":
            separator = "tab" if b"\t" in line else "none" if line.lower().endswith(_SUFFIXES) else "space"
        if separator == "none":
            return line, None
        path, found, label = line.rpartition(_SEPARATORS[separator])
        if not found:
            return line, None
        return path.rstrip(), path_to_text(label.strip()) or None
