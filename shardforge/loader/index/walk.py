"""Indexes a foreign tar by one walk over its headers."""

from __future__ import annotations

import numpy as np

from shardforge.errors import DatasetError
from shardforge.files import FileView, open_regular
from shardforge.loader.index.rows import NO_LABEL, ShardRows, make_extent
from shardforge.loader.network import hide_credentials
from shardforge.loader.storage.base import ShardFile
from shardforge.samples import LABEL, MOST_LABEL, hash_keys, iter_samples, parse_label
from shardforge.tarfiles import CompressedTarError, Member, TarBytes, TarError, iter_members

#: Bytes of a remote shard that are read at a time.
_PIECE = 8 << 20
#: Extensions in a shard: the index has a column for each, so that dots in names could make it as large as its square.
_MOST_EXTENSIONS = 256
_LARGEST_LABEL = (1 << 31) - 1


def walk_shard(path: str) -> ShardRows:
    """Return the rows of the tar at `path`, its samples in order.

    Raises:
        DatasetError: the tar is compressed, torn or damaged, or a sample has two members with one extension, or its
            samples have very many extensions.
    """
    try:
        with open(open_regular(path), "rb") as file:  # not mapped: a file that is cut meanwhile would end the process
            return _index_members(path, FileView(file.fileno()))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be indexed ({error}); expected a tar") from error
    except TarError as error:
        raise _explain(path, error) from error


def walk_file(url: str, file: ShardFile) -> ShardRows:
    """Return the rows of an open shard, which is read whole.

    Raises:
        DatasetError: as for `walk_shard`.
    """
    name = hide_credentials(url)
    try:
        return _index_members(name, _PieceView(file))
    except TarError as error:
        raise _explain(name, error) from error


def _explain(name: str, error: TarError) -> DatasetError:
    if isinstance(error, CompressedTarError):
        return DatasetError(f"{name} {error}")
    return DatasetError(f"{name}: {error}; restore the shard, or leave it out")


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


def _index_members(path: str, view: TarBytes) -> ShardRows:
    keys: list[str] = []
    labels: list[int] = []
    members: dict[str, tuple[list[int], list[int], list[int]]] = {}
    for key, sample in iter_samples(iter_members(view)):
        label = NO_LABEL
        for extension, member in sample:
            if extension not in members and len(members) == _MOST_EXTENSIONS:
                raise DatasetError(
                    f"{path}: its samples have more than {_MOST_EXTENSIONS} extensions, such as {extension} of {key}: "
                    "what follows the first dot of a file name is the extension; rename the members"
                )
            rows, offsets, sizes = members.setdefault(extension, ([], [], []))
            if rows and rows[-1] == len(keys):
                raise DatasetError(f"{path}: sample {key} has two members .{extension}; write that tar anew")
            rows.append(len(keys))
            offsets.append(member.data_offset)
            sizes.append(member.size)
            if extension == LABEL:
                label = _read_label(view, member)
        keys.append(key)
        labels.append(label)
    extents = {name: make_extent(path, *_spread(len(keys), *columns)) for name, columns in members.items()}
    return ShardRows(hash_keys(keys), np.array(labels, np.int32), extents)


def _spread(samples: int, rows: list[int], offsets: list[int], sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets and sizes with a place for every sample, 0 where it has none."""
    spread = np.zeros((2, samples), np.int64)
    spread[:, rows] = offsets, sizes
    return spread[0], spread[1]


def _read_label(view: TarBytes, member: Member) -> int:
    """Return the class index in a .cls member; text that is no such number is left to whoever reads the member."""
    if member.size > MOST_LABEL:
        return NO_LABEL
    label = parse_label(bytes(view[member.data_offset : member.data_offset + member.size]))
    return label if label is not None and 0 <= label <= _LARGEST_LABEL else NO_LABEL
