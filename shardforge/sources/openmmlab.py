"""Kind `openmmlab`: annotation files of OpenMMLab 2.0, JSON with `metainfo` and `data_list`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from shardforge import reasons
from shardforge.errors import SourceError, shorten
from shardforge.paths import encode_path
from shardforge.sources.base import SourceSpec, locate_file
from shardforge.sources.columns import as_text, describe
from shardforge.sources.json_text import parse_json
from shardforge.sources.listing import batched
from shardforge.sources.written_paths import make_named_batch, make_nameless_batch, names_disk, read_slashes
from shardforge.tables.formats import HEAD_BYTES, JSON, refuse_other_formats
from shardforge.tables.numbers import as_whole

_OWN_KEYS = ("img_path", "gt_label")


class OpenMMLabSource:
    """An annotation file of OpenMMLab 2.0; it is read into memory as a whole."""

    options: ClassVar[Mapping[str, str]] = {
        "prefix": "what to put before every img_path, as data_prefix does (default: nothing)",
        "root": "the folder that paths start from, named from the folder of the annotation file (default: that folder)",
    }
    locate = staticmethod(locate_file)

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        prefix = encode_path(spec.options.get("prefix", ""))
        self._prefix = prefix if os.path.exists(os.path.join(os.fsencode(spec.root), prefix)) else read_slashes(prefix)

    def list(self) -> Iterator[pa.Table]:
        """Yield a record per entry of `data_list`, in its order.

        An entry without a path is a record that is named by its number, and one whose label is no class has a reason.
        """
        file = self.spec.file
        assert file is not None
        entries, classes = self._load(file)
        for batch in batched(enumerate(entries)):
            named = [entry for _, entry in batch if _read_path(entry)]
            nameless = [f"data_list[{number}]" for number, entry in batch if not _read_path(entry)]
            yield make_nameless_batch(self.spec, file, nameless)
            others = dict.fromkeys(name for entry in named for name in entry if name not in _OWN_KEYS)
            said = {name: [entry.get(name) for entry in named] for name in others}
            columns: dict[str, Any] = describe(said, len(named))
            read = [_read_label(entry.get("gt_label"), classes) for entry in named]
            columns["label"] = [label for label, _ in read]
            columns["note"] = [fault for _, fault in read]
            columns["reason"] = [reasons.BAD_SAMPLE if fault else None for _, fault in read]
            yield make_named_batch(self.spec, [self._place(entry) for entry in named], columns)

    def _place(self, entry: dict[str, Any]) -> bytes:
        """Return the path of an entry behind the prefix, which stands for a folder of this machine."""
        path = encode_path(_read_path(entry))
        return path if names_disk(path) else os.path.join(self._prefix, path)

    def _load(self, file: Path) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return `data_list` and the class names (none are fine where no entry has a label)."""
        with open(file, "rb") as opened:
            refuse_other_formats(file, opened.read(HEAD_BYTES), JSON)
        try:
            content = parse_json(file.read_bytes())
        except ValueError as error:
            raise SourceError(
                f"{file}: not JSON ({shorten(error, 120)}); expected an annotation file of OpenMMLab 2.0"
            ) from error
        entries = content.get("data_list") if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise SourceError(f"{file}: no list 'data_list'; expected an annotation file of OpenMMLab 2.0")
        info = content.get("metainfo") or {}
        classes = (info.get("classes") or info.get("CLASSES") or []) if isinstance(info, dict) else None
        if not isinstance(classes, list):
            raise SourceError(f"{file}: 'metainfo' is not an object with a list 'classes'; expected one name per class")
        if not any(map(_read_path, entries)):
            found = "data_list[0] has no 'img_path', nor has any other" if entries else "'data_list' is empty"
            raise SourceError(f"{file}: {found}; expected an entry with the path of each image")
        labels = (entry.get("gt_label") if isinstance(entry, dict) else None for entry in entries)
        number, label = next(((i, label) for i, label in enumerate(labels) if label is not None), (0, None))
        if label is not None and not classes:
            raise SourceError(
                f"{file}: data_list[{number}] has gt_label {shorten(label)}, but metainfo.classes has 0 names; "
                "name the classes there"
            )
        return entries, classes


def _read_path(entry: Any) -> str:
    path = entry.get("img_path") if isinstance(entry, dict) else None
    return path if isinstance(path, str) else ""


def _read_label(index: Any, classes: Sequence[Any]) -> tuple[str | None, str | None]:
    """Return the name of the class, and what is wrong with its index."""
    if isinstance(index, list) and len(index) == 1:
        index = index[0]
    if isinstance(index, float):
        index = as_whole(index)
    if index is None:
        return None, None
    if not isinstance(index, int) or isinstance(index, bool):
        return None, f"gt_label is {shorten(index)}; expected one class index"
    if not 0 <= index < len(classes):
        return None, f"gt_label is {index}, but metainfo.classes has {len(classes)} names"
    return as_text(classes[index]), None
