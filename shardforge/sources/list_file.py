"""Kind `list`: a text file with one image a line, `path label` or `path`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import ClassVar

import pyarrow as pa

from shardforge.errors import SourceError
from shardforge.paths import path_to_text
from shardforge.samples import IMAGE_SUFFIXES
from shardforge.sources.base import SourceSpec, choose, locate_file
from shardforge.sources.listing import batched, make_file_batch, relative_path

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
        """Yield a record per line, in the order of the list."""
        for batch in batched(self._read_lines()):
            paths, labels = zip(*batch, strict=True)
            yield make_file_batch(self.spec, paths, {"label": labels})

    def _read_lines(self) -> Iterator[tuple[str, str | None]]:
        """Yield path and label of each line; a line that says again what an earlier one said is left out."""
        file = self.spec.file
        assert file is not None
        root = os.fsencode(self.spec.root)
        met: dict[str, tuple[int, str | None]] = {}
        with open(file, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                text = line.strip()
                if not text or text.startswith(b"#"):
                    continue
                raw, label = self._split(text)
                path = relative_path(root, raw)
                first, known = met.setdefault(path, (number, label))
                if known != label:
                    raise SourceError(
                        f"{file}: lines {first} and {number} give {path!r} the labels {known!r} and {label!r}; keep one"
                    )
                if first == number:
                    yield path, label

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
