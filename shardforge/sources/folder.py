"""Kind `folder`: every file below a folder, labelled by the directory that it lies in."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Mapping, MutableSequence
from typing import ClassVar

import pyarrow as pa

from shardforge import reasons
from shardforge.paths import path_to_text
from shardforge.sources.base import SourceSpec, choose, locate_folder
from shardforge.sources.listing import BATCH_ROWS, batched, make_batch, make_file_batch
from shardforge.sources.walk import walk

#: Label of the files in a directory, from the directory's path relative to the root.
_LABELS: dict[str, Callable[[str], str | None]] = {
    "top": lambda path: path.partition("/")[0] or None,
    "parent": lambda path: path.rpartition("/")[2] or None,
    "path": lambda path: path or None,
    "none": lambda path: None,
}


class FolderSource:
    """Every file below a folder, whatever its name; a scan tells images from other files by their content."""

    options: ClassVar[Mapping[str, str]] = {
        "label": "top (default: the top-level directory), parent, path, or none",
        "include": "glob patterns by comma, matched against the path; * matches / too",
    }
    locate = staticmethod(locate_folder)

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self._label = _LABELS[choose(spec, "label", tuple(_LABELS), "top")]
        patterns = spec.options.get("include", "*").split(",")
        self._include = re.compile("|".join(fnmatch.translate(pattern.strip()) for pattern in patterns))

    def list(self) -> Iterator[pa.Table]:
        """Yield the files in the order of the walk, then the directories that could not be listed."""
        unreadable: list[str] = []
        for batch in batched(self._list_files(unreadable)):
            paths, labels = zip(*batch, strict=True)
            yield make_file_batch(self.spec, paths, {"label": labels})
        for start in range(0, len(unreadable), BATCH_ROWS):
            paths = tuple(unreadable[start : start + BATCH_ROWS])
            yield make_batch(self.spec, paths, {"reason": [reasons.UNREADABLE_DIRECTORY] * len(paths)})

    def _list_files(self, unreadable: MutableSequence[str]) -> Iterator[tuple[str, str | None]]:
        """Yield path and label of each file; append to `unreadable` the directories that cannot be listed."""
        everything = "include" not in self.spec.options
        for directory in walk(os.fsencode(self.spec.root)):
            folder = path_to_text(directory.path)
            if not directory.readable:
                unreadable.append(folder)
            label = self._label(folder)
            prefix = f"{folder}/" if folder else ""
            for name in directory.names:
                path = prefix + path_to_text(name)
                if everything or self._include.match(path):
                    yield path, label
