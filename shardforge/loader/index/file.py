"""The index on disk: a header and arrays in the machine's own layout, to be mapped.

    magic, format version      16 bytes
    length of the description  4 bytes
    CRC-32 of the description  4 bytes
    description                JSON: samples, shards, extensions, identity; padded to 64 bytes
    arrays                     each padded to 64 bytes, in the order of `_columns`

A sample takes 16 bytes and 8 more for each of its members; mapped pages are shared by all processes that read them.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from shardforge.errors import DatasetError
from shardforge.files import atomic_write
from shardforge.loader.index.rows import Extent, ShardRows

_MAGIC = b"shardforge-idx\x00\x02"
_PREFIX = "<II"
_ALIGNMENT = 64


@dataclass(frozen=True)
class Columns:
    """What an index file holds.

    Attributes:
        identity: hex digits that stand for the shards' names, in order.
        starts: first sample of each shard, and the number of samples at the end.
        versions: bytes of each shard and a number that changes with its content, shape [shards, 2].
        labels: class of each sample, -1 for none.
        hashes: 64-bit hashes of the samples' keys, in ascending order.
        order: the sample that each of `hashes` belongs to.
        members: where the members lie, by extension.
    """

    identity: str
    starts: np.ndarray
    versions: np.ndarray
    labels: np.ndarray
    hashes: np.ndarray
    order: np.ndarray
    members: dict[str, Extent]


def join_rows(identity: str, versions: np.ndarray, shards: list[ShardRows]) -> Columns:
    """Return the columns of all shards, one after another."""
    starts = np.cumsum([0, *(len(rows.labels) for rows in shards)], dtype=np.int64)
    hashes = np.concatenate([np.empty(0, np.uint64), *(rows.hashes for rows in shards)])
    order = np.argsort(hashes, kind="stable").astype(np.uint32)
    extensions = dict.fromkeys(extension for rows in shards for extension in rows.members)
    labels = np.concatenate([np.empty(0, np.int32), *(rows.labels for rows in shards)])
    members = {extension: _join_extents(extension, shards) for extension in extensions}
    return Columns(identity, starts, versions, labels, hashes[order], order, members)


def write_columns(path: Path, columns: Columns) -> None:
    """Write an index file, atomically.

    Raises:
        DatasetError: the disk is full or the place cannot be written.
    """
    description = {
        "samples": len(columns.labels),
        "shards": len(columns.versions),
        "extensions": list(columns.members),
        "identity": columns.identity,
    }
    text = json.dumps(description).encode()
    arrays = [columns.starts, columns.versions, columns.labels, columns.hashes, columns.order]
    arrays += [array for extent in columns.members.values() for array in extent]
    with atomic_write(path) as file:
        _write_padded(file, _MAGIC + struct.pack(_PREFIX, len(text), zlib.crc32(text)) + text)
        for array in arrays:
            _write_padded(file, array.reshape(-1).view(np.uint8).data)


def map_columns(path: Path) -> Columns:
    """Map an index file.

    Raises:
        DatasetError: it is not an index file of this version, or was cut.
        FileNotFoundError: there is none.
    """
    try:
        with open(path, "rb") as file:
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        described, end = _read_description(view)
        arrays = list(_map_arrays(view, described, end))
    except ValueError as error:
        raise DatasetError(f"{path}: is not an index of this version, or damaged; delete it") from error
    starts, versions, labels, hashes, order, *rest = arrays
    extents = [Extent(blocks, sizes) for blocks, sizes in zip(rest[::2], rest[1::2], strict=True)]
    members = dict(zip(described["extensions"], extents, strict=True))
    return Columns(described["identity"], starts, versions.reshape(-1, 2), labels, hashes, order, members)


def _write_padded(file: IO[bytes], data: bytes | memoryview) -> None:
    file.write(data)
    file.write(bytes(-len(data) % _ALIGNMENT))


def _join_extents(extension: str, shards: list[ShardRows]) -> Extent:
    parts = []
    for rows in shards:
        nothing = np.zeros(len(rows.labels), np.uint32)
        parts.append(rows.members.get(extension, Extent(nothing, nothing)))
    return Extent(np.concatenate([part.blocks for part in parts]), np.concatenate([part.sizes for part in parts]))


def _read_description(view: mmap.mmap) -> tuple[dict[str, Any], int]:
    """Return the description and where the arrays start."""
    start = len(_MAGIC) + struct.calcsize(_PREFIX)
    if len(view) < start or view[: len(_MAGIC)] != _MAGIC:
        raise ValueError
    length, checksum = struct.unpack(_PREFIX, view[len(_MAGIC) : start])
    text = view[start : start + length]
    if zlib.crc32(text) != checksum:
        raise ValueError
    described: dict[str, Any] = json.loads(text)
    return described, start + length


def _map_arrays(view: mmap.mmap, described: dict[str, Any], end: int) -> Iterator[np.ndarray]:
    samples, shards = described["samples"], described["shards"]
    layout: list[tuple[str, int]] = [("<i8", shards + 1), ("<i8", 2 * shards), ("<i4", samples), ("<u8", samples)]
    layout += [("<u4", samples)] * (1 + 2 * len(described["extensions"]))
    for dtype, count in layout:
        end += -end % _ALIGNMENT
        array = np.frombuffer(view, dtype, count, end) if count else np.empty(0, dtype)
        yield array
        end += array.nbytes
