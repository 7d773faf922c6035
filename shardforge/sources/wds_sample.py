"""What the members of a WebDataset sample say about its image."""

from __future__ import annotations

import json
from collections.abc import Iterable
from mmap import mmap
from pathlib import Path
from typing import Any

from shardforge.errors import SourceError, UsageError
from shardforge.sources.columns import ALIASES, find_column
from shardforge.tarfiles import Member

_CLASSES = "classes.txt"


class SampleReader:
    """Reads .cls, .json and .txt members; keeps the class names of each folder of tars."""

    def __init__(self, classes: Path | None) -> None:
        if classes is not None and not classes.is_file():
            raise UsageError(f"option classes: {classes} is not a file; name a file with one class name a line")
        self._given = _read_lines(classes) if classes else None
        self._found: dict[Path, list[str] | None] = {}

    def read(self, file: Path, view: mmap, members: Iterable[Member]) -> dict[str, Any]:
        """Return the keys of .json, `txt` with the text of .txt, and `label`.

        The label is the class name for the index in .cls, or without class names the label of .json, or else what .cls
        holds.

        Raises:
            SourceError: a member is not what its suffix says, or a class index has no name.
        """
        texts = {member.name[len(sample_key(member.name)) :].lower(): member for member in members}
        said = _parse_json(file, texts[".json"], view) if ".json" in texts else {}
        if ".txt" in texts:
            said["txt"] = _decode(file, texts[".txt"], view)
        if ".cls" in texts:
            index = _decode(file, texts[".cls"], view).strip()
            name = self._class_name(file, texts[".cls"], index)
            if name or not find_column(said, ALIASES["label"]):
                said["label"] = name or index
        return said

    def _class_name(self, file: Path, member: Member, index: str) -> str | None:
        """Return the name of a class, or None when there are no class names or `index` is no number."""
        names = self._given or self._find_classes(file.parent)
        if names is None or not index.isdecimal():
            return None
        if int(index) >= len(names):
            raise SourceError(f"{file}: {member.name} says class {index}, but there are {len(names)} class names")
        return names[int(index)]

    def _find_classes(self, folder: Path) -> list[str] | None:
        if folder not in self._found:
            beside = (folder / _CLASSES, folder.parent / _CLASSES)
            self._found[folder] = next((_read_lines(path) for path in beside if path.is_file()), None)
        return self._found[folder]


def sample_key(name: str) -> str:
    """Return a member's path up to the first dot of its file name: what the members of a sample have in common."""
    folder, slash, file_name = name.rpartition("/")
    return folder + slash + file_name.partition(".")[0]


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text ({error}); expected one class name a line") from error


def _decode(file: Path, member: Member, view: mmap) -> str:
    try:
        return view[member.data_offset : member.data_offset + member.size].decode()
    except UnicodeDecodeError as error:
        raise SourceError(f"{file}: {member.name} is not UTF-8 text ({error}); write that tar anew") from error


def _parse_json(file: Path, member: Member, view: mmap) -> dict[str, Any]:
    try:
        content = json.loads(_decode(file, member, view))
    except ValueError as error:
        raise SourceError(f"{file}: {member.name} is not JSON ({error}); write that tar anew") from error
    if not isinstance(content, dict):
        raise SourceError(f"{file}: {member.name} is not a JSON object; write that tar anew")
    return content
