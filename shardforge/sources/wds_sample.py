"""What the members of a WebDataset sample say about its image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shardforge import reasons
from shardforge.errors import ImageError, UsageError
from shardforge.files import FileView, read_lines
from shardforge.samples import LABEL, MOST_LABEL, MOST_TEXT, Sample, parse_label
from shardforge.sources.columns import ALIASES, find_column
from shardforge.sources.json_text import parse_json
from shardforge.tarfiles import Member

_CLASSES = "classes.txt"
_MOST_DIGITS = 18
#: Members that are read, and the most bytes that they may have.
_MOST_BYTES = {LABEL: MOST_LABEL, "json": MOST_TEXT, "txt": MOST_TEXT}


class SampleReader:
    """Reads .cls, .json and .txt members; keeps the class names of each folder of tars."""

    def __init__(self, classes: Path | None) -> None:
        if classes is not None and not classes.is_file():
            raise UsageError(f"option classes: {classes} is not a file; name a file with one class name a line")
        self._given = read_lines(classes) if classes else None
        self._found: dict[str, list[str] | None] = {}

    def read(self, folder: str, view: FileView, sample: Sample) -> dict[str, Any]:
        """Return the keys of .json, `txt` with the text of .txt, and `label`, for a sample of a tar in `folder`.

        The label is the class name for the index in .cls, or without class names the label of .json, or else what .cls
        holds.

        Raises:
            ImageError: a member is not what its suffix says, or stands there twice, or a class has no name
                (bad_sample); or it is larger than any text (too_costly).
        """
        texts = _find_texts(sample)
        said = _parse_json(texts["json"], view) if "json" in texts else {}
        if "txt" in texts:
            said["txt"] = _decode("txt", texts["txt"], view)
        if LABEL in texts:
            index = _decode(LABEL, texts[LABEL], view).strip()
            name = self._class_name(folder, texts[LABEL], index)
            if name or not find_column(said, ALIASES["label"]):
                said["label"] = name or index
        return said

    def _class_name(self, folder: str, member: Member, index: str) -> str | None:
        """Return the name of a class, by its number or as it is; None when there are no class names, or nothing."""
        names = self._given or self._find_classes(folder)
        if names is None or not index:
            return None
        number = parse_label(index.encode())
        if number is None and index in names:
            return index
        if number is None or not 0 <= number < len(names):
            raise ImageError(
                f"{member.name} says class {index[:_MOST_DIGITS]}, but the class file ends with class "
                f"{len(names) - 1} and has no such name; give the class file of this tar by the option classes",
                reason=reasons.BAD_SAMPLE,
            )
        return names[number]

    def _find_classes(self, folder: str) -> list[str] | None:
        if folder not in self._found:
            beside = (Path(folder, _CLASSES), Path(folder).parent / _CLASSES)
            self._found[folder] = next((read_lines(path) for path in beside if path.is_file()), None)
        return self._found[folder]


def _find_texts(sample: Sample) -> dict[str, Member]:
    """Return the members that say something, by extension."""
    texts: dict[str, Member] = {}
    for extension, member in sample.members:
        if extension in _MOST_BYTES:
            if extension in texts:
                raise ImageError(f"sample {sample.key} has two members .{extension}", reason=reasons.BAD_SAMPLE)
            texts[extension] = member
    return texts


def _decode(extension: str, member: Member, view: FileView) -> str:
    if member.size > (most := _MOST_BYTES[extension]):
        raise ImageError(
            f"{member.name} has {member.size:,} bytes; expected at most {most:,}", reason=reasons.TOO_COSTLY
        )
    try:
        return view[member.data_offset : member.data_offset + member.size].decode()
    except UnicodeDecodeError as error:
        raise ImageError(f"{member.name} is not UTF-8 text ({error})", reason=reasons.BAD_SAMPLE) from error


def _parse_json(member: Member, view: FileView) -> dict[str, Any]:
    try:
        content = parse_json(_decode("json", member, view))
    except ValueError as error:
        raise ImageError(f"{member.name} is not JSON ({error})", reason=reasons.BAD_SAMPLE) from error
    if not isinstance(content, dict):
        raise ImageError(f"{member.name} is not a JSON object", reason=reasons.BAD_SAMPLE)
    return content
