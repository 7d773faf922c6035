"""What the members of a WebDataset sample say about its image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shardforge import reasons
from shardforge.errors import ImageError, SourceError, UsageError
from shardforge.files import FileView, read_lines
from shardforge.sources.columns import ALIASES, find_column
from shardforge.sources.json_text import parse_json
from shardforge.tarfiles import Member

_CLASSES = "classes.txt"
_MOST_DIGITS = 18


class SampleReader:
    """Reads .cls, .json and .txt members; keeps the class names of each folder of tars."""

    def __init__(self, classes: Path | None) -> None:
        if classes is not None and not classes.is_file():
            raise UsageError(f"option classes: {classes} is not a file; name a file with one class name a line")
        self._given = read_lines(classes) if classes else None
        self._found: dict[Path, list[str] | None] = {}

    def read(self, file: Path, view: FileView, members: Iterable[Member]) -> dict[str, Any]:
        """Return the keys of .json, `txt` with the text of .txt, and `label`.

        The label is the class name for the index in .cls, or without class names the label of .json, or else what .cls
        holds.

        Raises:
            ImageError: a member is not what its suffix says (bad_sample).
            SourceError: a class index has no name.
        """
        texts = {member.name[len(sample_key(member.name)) :].lower(): member for member in members}
        said = _parse_json(texts[".json"], view) if ".json" in texts else {}
        if ".txt" in texts:
            said["txt"] = _decode(texts[".txt"], view)
        if ".cls" in texts:
            index = _decode(texts[".cls"], view).strip()
            name = self._class_name(file, texts[".cls"], index)
            if name or not find_column(said, ALIASES["label"]):
                said["label"] = name or index
        return said

    def _class_name(self, file: Path, member: Member, index: str) -> str | None:
        """Return the name of a class, or None when there are no class names or `index` is no number."""
        names = self._given or self._find_classes(file.parent)
        if names is None or not index.isdecimal():
            return None
        digits = index.lstrip("0") or "0"
        if len(digits) > _MOST_DIGITS or int(digits) >= len(names):
            raise SourceError(
                f"{file}: {member.name} says class {digits[:_MOST_DIGITS]}, but the class file ends with class "
                f"{len(names) - 1}; give the class file of this tar by the option classes"
            )
        return names[int(digits)]

    def _find_classes(self, folder: Path) -> list[str] | None:
        if folder not in self._found:
            beside = (folder / _CLASSES, folder.parent / _CLASSES)
            self._found[folder] = next((read_lines(path) for path in beside if path.is_file()), None)
        return self._found[folder]


def sample_key(name: str) -> str:
    """Return a member's path up to the first dot of its file name: what the members of a sample have in common."""
    folder, slash, file_name = name.rpartition("/")
    return folder + slash + file_name.partition(".")[0]


def _decode(member: Member, view: FileView) -> str:
    try:
        return view[member.data_offset : member.data_offset + member.size].decode()
    except UnicodeDecodeError as error:
        raise ImageError(f"{member.name} is not UTF-8 text ({error})", reason=reasons.BAD_SAMPLE) from error


def _parse_json(member: Member, view: FileView) -> dict[str, Any]:
    try:
        content = parse_json(_decode(member, view))
    except ValueError as error:
        raise ImageError(f"{member.name} is not JSON ({error})", reason=reasons.BAD_SAMPLE) from error
    if not isinstance(content, dict):
        raise ImageError(f"{member.name} is not a JSON object", reason=reasons.BAD_SAMPLE)
    return content
