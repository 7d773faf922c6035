"""Indexes a foreign tar by one walk over its headers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

import numpy as np

from shardforge.errors import DatasetError
from shardforge.files import FileView
from shardforge.loader.index.rows import NO_LABEL, ShardRows, hash_keys, make_extent
from shardforge.loader.network import hide_credentials
from shardforge.loader.storage.base import ShardFile
from shardforge.tarfiles import Member, TarBytes, TarError, iter_members

#: Bytes of a remote shard that are read at a time.
_PIECE = 8 << 20
_META = re.compile(r"__[^/]*__/")


def walk_shard(path: str) -> ShardRows:
    """Return the rows of the tar at `path`, its samples in order.

    A sample is a run of members whose names are alike up to the first dot of the file name; what follows the dot, in
    lower case, is the extension. Hidden files, files without a dot, and what lies in a folder __NAME__ belong to no
    sample: the rules of webdataset.

    Raises:
        DatasetError: the tar is torn or damaged, or a sample has two members with one extension.
    """
    try:
        with open(path, "rb") as file:  # not mapped: a file that is cut meanwhile would end the process
            return _index_members(path, FileView(file.fileno()))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be indexed ({error}); expected a tar") from error
    except TarError as error:
        raise DatasetError(f"{path}: {error}; restore the shard, or leave it out") from error


def walk_file(url: str, file: ShardFile) -> ShardRows:
    """Return the rows of an open shard, which is read whole.

    Raises:
        DatasetError: as for `walk_shard`.
    """
    name = hide_credentials(url)
    try:
        return _index_members(name, _PieceView(file))
    except TarError as error:
        raise DatasetError(f"{name}: {error}; restore the shard, or leave it out") from error


class _PieceView:
    """The bytes of a shard by slice, of which a piece of some megabytes is held."""

    def __init__(self, file: ShardFile) -> None:
        self._file = file
        self._start = 0
        self._piece = b""

    def __len__(self) -> int:
        return self._file.stat.size

    def __getitem__(self, part: slice) -> bytes:
        start, end, _ = part.indices(len(self))
        if start < self._start or end > self._start + len(self._piece):
            self._start = start
            size = max(end - start, min(_PIECE, len(self) - start))
            self._piece = self._file.read([start], [size])[0]
        return self._piece[start - self._start : end - self._start]


def split_name(name: str) -> tuple[str, str]:
    """Return a member's key and extension, both empty where it belongs to no sample."""
    folder, slash, file_name = name.rpartition("/")
    stem, dot, extension = file_name.partition(".")
    if not stem or not dot or _META.match(name):
        return "", ""
    return folder + slash + stem, extension.lower()


def _index_members(path: str, view: TarBytes) -> ShardRows:
    keys: list[str] = []
    labels: list[int] = []
    members: dict[str, tuple[list[int], list[int], list[int]]] = {}
    for key, sample in _iter_samples(view):
        label = NO_LABEL
        for extension, member in sample:
            rows, offsets, sizes = members.setdefault(extension, ([], [], []))
            if rows and rows[-1] == len(keys):
                raise DatasetError(f"{path}: sample {key} has two members .{extension}; write that tar anew")
            rows.append(len(keys))
            offsets.append(member.data_offset)
            sizes.append(member.size)
            if extension == "cls":
                label = _parse_label(bytes(view[member.data_offset : member.data_offset + member.size]))
        keys.append(key)
        labels.append(label)
    extents = {name: make_extent(path, *_spread(len(keys), *columns)) for name, columns in members.items()}
    return ShardRows(hash_keys(keys), np.array(labels, np.int32), extents)


def _iter_samples(view: TarBytes) -> Iterator[tuple[str, list[tuple[str, Member]]]]:
    named = ((split_name(member.name), member) for member in iter_members(view))
    # Files that belong to no sample may stand between the members of one.
    for key, sample in groupby((item for item in named if item[0][0]), lambda item: item[0][0]):
        yield key, [(extension, member) for (_, extension), member in sample]


def _spread(samples: int, rows: list[int], offsets: list[int], sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets and sizes with a place for every sample, 0 where it has none."""
    spread = np.zeros((2, samples), np.int64)
    spread[:, rows] = offsets, sizes
    return spread[0], spread[1]


def _parse_label(text: bytes) -> int:
    """Return the class index in a .cls member; text that is no number is left to whoever reads the member."""
    digits = text.strip()
    return int(digits) if digits.isdigit() and len(digits) < 10 else NO_LABEL
