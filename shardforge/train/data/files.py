"""Images that lie in folders or are listed in files, read through the same order, epochs and resuming as shards."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shardforge import reasons
from shardforge.errors import ImageError, UsageError
from shardforge.images.limits import MAX_ENCODED_BYTES
from shardforge.loader.dataset import KEY, ShardDataset, Transform
from shardforge.loader.storage import ShardReader
from shardforge.loader.storage.local import LocalStorage
from shardforge.paths import path_from_text, path_to_text
from shardforge.samples import IMAGE_SUFFIXES
from shardforge.sources import open_source, parse_source

#: Kinds of sources by the suffix of the path that is named.
_KINDS = {".txt": "list", ".json": "openmmlab"}
#: Larger numbers of classes are no labels, but something else that was read as such.
_MOST_CLASSES = 10_000_000


@dataclass(frozen=True)
class FileIndex:
    """Paths and labels of images; to a loader, all of them are one shard.

    `labels` are class numbers, -1 for none; `reader` has no shards to read.
    """

    paths: pa.Array
    labels: npt.NDArray[np.int32]
    fingerprint: str
    reader: ShardReader = field(default_factory=lambda: ShardReader(LocalStorage(), [], np.zeros((0, 2), np.int64)))
    extensions: tuple[str, ...] = ("jpg",)

    @property
    def samples(self) -> int:
        """The number of images."""
        return len(self.paths)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The number of images, as that of one shard."""
        return np.array([len(self.paths)], np.int64)

    def labels_of(self, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Return the class of each of these images, -1 for none."""
        return self.labels[samples]

    def key(self, sample: int) -> str:
        """Return the path of an image."""
        return str(self.paths[sample])


class FileDataset(ShardDataset):
    """The images of folders and lists.

    `inputs` are folders with a folder for each class, text files of `path label`, or annotation files of OpenMMLab 2.0.
    With `classes` the labels are their numbers; otherwise the classes are the labels there are, sorted.
    """

    def __init__(
        self, inputs: Sequence[str], *, classes: Sequence[str] | None = None, transform: Transform | None = None
    ) -> None:
        tables = [_list_images(place) for place in inputs]
        paths = pa.concat_arrays([paths for paths, _ in tables])
        labels = [label for _, found in tables for label in found]
        self.classes = tuple(classes) if classes is not None else _sort_classes(labels)
        self.index: Any = FileIndex(paths, _number(labels, self.classes), _fingerprint(paths, labels))
        self.sizes = [len(found) for _, found in tables]
        self.lengths = [np.array([size], np.int64) for size in self.sizes]
        self.members = None
        self.transform = transform
        self.decode = True
        self._labels = None

    def read_columns(self, samples: npt.NDArray[np.int64], names: Sequence[str]) -> dict[str, list[Any]]:
        """Return for each name the images' bytes, None where a file is gone, or their paths."""
        keys = [self.index.key(sample) for sample in samples.tolist()]
        return {name: keys if name == KEY else [_read(key) for key in keys] for name in names}

    def explain(self, error: ImageError, sample: int, name: str) -> ImageError:
        """Return the error with the path of the image that it is about."""
        key = self.index.key(sample)
        if not os.access(path_from_text(key), os.R_OK):
            return ImageError(f"{key}: is gone, or cannot be read any more; put it back", reason=reasons.VANISHED)
        if os.path.getsize(path_from_text(key)) > MAX_ENCODED_BYTES:
            return ImageError(f"{key}: is too large for an image; take it away", reason=reasons.TOO_COSTLY)
        if error.reason == reasons.TOO_MANY_PIXELS:
            return ImageError(
                f"{key}: is too large to be decoded; take it away, or make it smaller", reason=error.reason
            )
        return ImageError(f"{key}: {error}; mend it, or take it away", reason=error.reason)


def _list_images(place: str) -> tuple[pa.Array, list[str | None]]:
    """Return the paths below or in `place` that are named as images are, and their labels."""
    spec = parse_source(f"images={_KINDS.get(Path(place).suffix, 'folder')}:{place}")
    root = path_to_text(str(spec.root))
    paths: list[str] = []
    labels: list[str | None] = []
    for table in open_source(spec).list():
        for path, label in zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True):
            if path.lower().endswith(IMAGE_SUFFIXES):
                paths.append(os.path.join(root, path))
                labels.append(label)
    if not paths:
        raise UsageError(f"{place}: holds no image ({', '.join(IMAGE_SUFFIXES)}); name a folder of images, or shards")
    return pa.array(paths, pa.large_string()), labels


def _sort_classes(labels: Sequence[str | None]) -> tuple[str, ...] | None:
    names = {label for label in labels if label is not None}
    if names and all(name.isdecimal() for name in names):
        classes = max(map(int, names)) + 1
        if classes > _MOST_CLASSES:
            raise UsageError(
                f"the images have a label {classes - 1:,}, as if there were so many classes; number from 0"
            )
        return tuple(map(str, range(classes)))
    return tuple(sorted(names)) or None


def _number(labels: Sequence[str | None], classes: Sequence[str] | None) -> npt.NDArray[np.int32]:
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(classes or ())} | {None: -1}
    if twice := next((name for name, count in Counter(classes or ()).items() if count > 1 and name in labels), None):
        raise UsageError(f"the class file has {twice!r} more than once, so its images have no one number; name it once")
    if unknown := next((label for label in labels if label not in numbers), None):
        raise UsageError(
            f"class {unknown!r} is in the images' folders but not among the {len(numbers) - 1} classes; "
            "add it to the class file, or take its images away"
        )
    return np.array([numbers[label] for label in labels], np.int32)


def _fingerprint(paths: pa.Array, labels: Sequence[str | None]) -> str:
    digest = hashlib.sha256()
    for path, label in zip(paths.to_pylist(), labels, strict=True):
        digest.update(f"{path}\0{label}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting: a pipe that bears the name of an image would never end."""
    return os.open(path, flags | os.O_NONBLOCK)


def _read(key: str) -> bytes | None:
    try:
        with open(path_from_text(key), "rb", buffering=0, opener=_open_at_once) as file:
            # What is too large is not read; `explain` says so.
            return file.readall() if os.fstat(file.fileno()).st_size <= MAX_ENCODED_BYTES else b""
    except OSError:
        return None
