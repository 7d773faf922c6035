"""Kind `openmmlab`: annotation files of OpenMMLab 2.0, JSON with `metainfo` and `data_list`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from shardforge.errors import SourceError
from shardforge.sources.base import SourceSpec, locate_file
from shardforge.sources.columns import as_text, describe
from shardforge.sources.json_text import parse_json
from shardforge.sources.listing import batched, make_file_batch, relative_path

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

    def list(self) -> Iterator[pa.Table]:
        """Yield a record per entry of `data_list`, in its order."""
        entries, classes = self._load()
        root = os.fsencode(self.spec.root)
        prefix = self.spec.options.get("prefix", "")
        for batch in batched(enumerate(entries)):
            paths = [relative_path(root, os.path.join(prefix, self._read_path(i, entry))) for i, entry in batch]
            others = dict.fromkeys(name for _, entry in batch for name in entry if name not in _OWN_KEYS)
            columns = describe({name: [entry.get(name) for _, entry in batch] for name in others}, len(paths))
            columns["label"] = [self._read_label(i, entry, classes) for i, entry in batch]
            yield make_file_batch(self.spec, paths, columns)

    def _load(self) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return `data_list` and the class names (none are fine where no entry has a label)."""
        file = self.spec.file
        assert file is not None
        try:
            content = parse_json(file.read_bytes())
        except ValueError as error:
            raise SourceError(f"{file}: not JSON ({error}); expected an annotation file of OpenMMLab 2.0") from error
        entries = content.get("data_list") if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise SourceError(f"{file}: no list 'data_list'; expected an annotation file of OpenMMLab 2.0")
        info = content.get("metainfo") or {}
        classes = (info.get("classes") or info.get("CLASSES") or []) if isinstance(info, dict) else None
        if not isinstance(classes, list):
            raise SourceError(f"{file}: 'metainfo' is not an object with a list 'classes'; expected one name per class")
        return entries, classes

    def _read_path(self, number: int, entry: Any) -> str:
        path = entry.get("img_path") if isinstance(entry, dict) else None
        if not isinstance(path, str) or not path:
            raise self._error(number, "has no 'img_path'; expected the path of an image")
        return path

    def _read_label(self, number: int, entry: dict[str, Any], classes: Sequence[Any]) -> str | None:
        index = entry.get("gt_label")
        if isinstance(index, list) and len(index) == 1:
            index = index[0]
        if index is None:
            return None
        if not isinstance(index, int):
            raise self._error(number, f"has gt_label {index!r}; expected one class index")
        if not 0 <= index < len(classes):
            raise self._error(number, f"has gt_label {index}, but metainfo.classes has {len(classes)} names")
        return as_text(classes[index])

    def _error(self, number: int, problem: str) -> SourceError:
        return SourceError(f"{self.spec.file}: data_list[{number}] {problem}")
