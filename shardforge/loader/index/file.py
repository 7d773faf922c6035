"""The index on disk: a head that is read when it is opened, and sections of rows that are read as they are asked for.

    magic, format version      16 bytes
    length of the head         8 bytes
    CRC-32 of the head         4 bytes
    head                       description in JSON, a NUL, and arrays: for each shard its first sample, its version and
                               whether CRC-32s are known; the CRC-32 of each page; the first hash of each page of keys
    labels                     for each sample its class, -1 for none
    places                     for each sample, of each of its members in turn: block, size, CRC-32 where it is known
    keys                       hash (two numbers, the lower half first) and sample, by ascending hash

The numbers of the sections have 32 bits, those of the head are as `_list_head` says; all are little-endian. A sample
takes 16 bytes and 12 more for each of its members, 8 where no CRC-32 is known.
"""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shardforge.files import atomic_write
from shardforge.loader.index.pages import IndexFile, PagedRows, Section, UInt32Array, iter_pages
from shardforge.loader.index.rows import ShardRows

MAGIC = b"shardforge-idx\x00\x03"
_PREFIX = "<QI"
_FIRST_BYTES = len(MAGIC) + struct.calcsize(_PREFIX)
#: Bytes of pages that are kept in memory: of labels, places and keys.
_BUDGETS = (4 << 20, 52 << 20, 8 << 20)


@dataclass(frozen=True)
class Columns:
    """What an index file is made of.

    Attributes:
        identity: hex digits that stand for the shards' names, in order.
        starts: first sample of each shard, and the number of samples at the end.
        versions: bytes of each shard and a number that changes with its content, shape [shards, 2].
        checked: whether the CRC-32s of a shard's members are known.
        labels: class of each sample, -1 for none.
        keys: 64-bit hashes of the samples' keys in two halves, ascending, and the sample of each; shape [samples, 3].
        extensions: those of the members.
        places: block, size and CRC-32 (where any shard has them) of each member, shape [samples, members x 3 or 2].
    """

    identity: str
    starts: npt.NDArray[np.int64]
    versions: npt.NDArray[np.int64]
    checked: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int32]
    keys: UInt32Array
    extensions: tuple[str, ...]
    places: UInt32Array


@dataclass(frozen=True)
class OpenIndex:
    """An index file that is open; attributes as those of `Columns`, its rows to be taken.

    `hashes` holds the first hash of each page of `keys`.
    """

    identity: str
    starts: npt.NDArray[np.int64]
    versions: npt.NDArray[np.int64]
    checked: npt.NDArray[np.bool_]
    extensions: tuple[str, ...]
    labels: PagedRows
    places: PagedRows
    keys: PagedRows
    hashes: npt.NDArray[np.uint64]

    @cached_property
    def member_numbers(self) -> dict[str, tuple[int, int]]:
        """For each extension, the first and the last of the numbers that `places` has for it."""
        each = 3 if self.checked.any() else 2
        return {name: (each * number, each * number + each - 1) for number, name in enumerate(self.extensions)}


def join_rows(identity: str, versions: npt.NDArray[np.int64], shards: Sequence[ShardRows]) -> Columns:
    """Return the columns of all shards, one after another."""
    starts = np.cumsum([0, *(len(rows.labels) for rows in shards)], dtype=np.int64)
    extensions = tuple(dict.fromkeys(extension for rows in shards for extension in rows.members))
    checked = np.array([_has_crcs(rows) for rows in shards], np.bool_)
    each = 3 if checked.any() else 2
    places = np.zeros((starts[-1], each * len(extensions)), np.uint32)
    for rows, (first, end) in zip(shards, itertools.pairwise(starts.tolist()), strict=True):
        for number, extension in enumerate(extensions):
            if extension in rows.members:
                for part, values in enumerate(rows.members[extension][:each]):
                    places[first:end, each * number + part] = 0 if values is None else values
    hashes = np.concatenate([np.empty(0, np.uint64), *(rows.hashes for rows in shards)])
    order = np.argsort(hashes, kind="stable")
    keys = np.empty((len(hashes), 3), np.uint32)
    keys[:, :2] = hashes[order].astype("<u8").view("<u4").reshape(-1, 2)
    keys[:, 2] = order
    labels = np.concatenate([np.empty(0, np.int32), *(rows.labels for rows in shards)])
    return Columns(identity, starts, versions, checked, labels, keys, extensions, places)


def read_hashes(keys: UInt32Array) -> npt.NDArray[np.uint64]:
    """Return the hashes of rows of `keys`."""
    return np.ascontiguousarray(keys[:, :2], "<u4").reshape(-1).view("<u8").astype(np.uint64, copy=False)


def write_columns(path: Path, columns: Columns) -> None:
    """Write an index file, atomically.

    Raises:
        DatasetError: the disk is full or the place cannot be written.
    """
    sections = [np.ascontiguousarray(columns.labels).view(np.uint32).reshape(-1, 1), columns.places, columns.keys]
    crcs = [np.array([zlib.crc32(page) for page in iter_pages(rows)], np.uint32) for rows in sections]
    first_keys = columns.keys[:: 1 << Section(0, *columns.keys.shape).shift]
    description = {
        "samples": len(columns.labels),
        "shards": len(columns.versions),
        "extensions": list(columns.extensions),
        "identity": columns.identity,
        "numbers": columns.places.shape[1],
    }
    arrays = [columns.starts, columns.versions, columns.checked, *crcs, read_hashes(first_keys)]
    head = b"".join([json.dumps(description).encode(), b"\0", *_encode(arrays)])
    with atomic_write(path) as file:
        file.write(MAGIC + struct.pack(_PREFIX, len(head), zlib.crc32(head)) + head)
        for rows in sections:
            for page in iter_pages(rows):
                file.write(page)


def open_columns(path: Path) -> OpenIndex:
    """Open an index file.

    Raises:
        DatasetError: it is not an index file of this version, or damaged.
        FileNotFoundError: there is none.
    """
    file = IndexFile(path)
    try:
        return _open(file)
    except (ValueError, LookupError, TypeError, struct.error, RecursionError) as error:
        raise file.explain("is not an index of this version, or damaged") from error


def _open(file: IndexFile) -> OpenIndex:
    """Return what a file holds by its head.

    Raises:
        ValueError, ...: it is none.
    """
    prefix = _read(file, 0, min(_FIRST_BYTES, file.size))
    if prefix[: len(MAGIC)] != MAGIC:
        raise ValueError("another format")
    length, crc = struct.unpack(_PREFIX, prefix[len(MAGIC) :])
    if _FIRST_BYTES + length > file.size:
        raise ValueError("cut")
    head = _read(file, _FIRST_BYTES, length)
    if zlib.crc32(head) != crc:
        raise ValueError("other bytes than were written")
    text, _, rest = head.partition(b"\0")
    described = _parse_description(text, file.size)
    samples, shards, numbers = described["samples"], described["shards"], described["numbers"]
    sections: list[Section] = []
    end = _FIRST_BYTES + length
    for width in (1, numbers, 3):
        sections.append(Section(end, samples, width))
        end += sections[-1].bytes
    if end != file.size:
        raise ValueError("of another length")
    pages = [section.pages for section in sections]
    starts, versions, checked, *crcs, hashes = _decode(rest, _list_head(shards, pages))
    labels, places, keys = (
        PagedRows(file, section, table, budget=budget)
        for section, table, budget in zip(sections, crcs, _BUDGETS, strict=True)
    )
    extensions = tuple(described["extensions"])
    shards_of = starts, versions.reshape(-1, 2), checked.astype(np.bool_)
    if starts[0] != 0 or starts[-1] != samples or (starts[:-1] > starts[1:]).any():
        raise ValueError("shards of other samples")
    if numbers != (3 if checked.any() else 2) * len(extensions):
        raise ValueError("other members than it names")
    return OpenIndex(described["identity"], *shards_of, extensions, labels, places, keys, hashes)


def _parse_description(text: bytes, most: int) -> dict[str, Any]:
    """Return the description in the head of a file of `most` bytes, which has no more samples, shards or members.

    Raises:
        ValueError, LookupError, TypeError, RecursionError: it is none.
    """
    described: dict[str, Any] = json.loads(text)
    counts = [described[name] for name in ("samples", "shards", "numbers")]
    extensions, identity = described["extensions"], described["identity"]
    if not all(type(count) is int and 0 <= count <= most for count in counts):
        raise ValueError("counts that cannot be")
    if not isinstance(extensions, list) or not all(isinstance(text, str) for text in (identity, *extensions)):
        raise ValueError("names that are no texts")
    return described


def _has_crcs(rows: ShardRows) -> bool:
    return bool(rows.members) and all(extent.crcs is not None for extent in rows.members.values())


def _list_head(shards: int, pages: Sequence[int]) -> list[tuple[str, int]]:
    """Return type and length of each array of the head."""
    return [
        ("<i8", shards + 1),
        ("<i8", 2 * shards),
        ("u1", shards),
        *(("<u4", count) for count in pages),
        ("<u8", pages[-1]),
    ]


def _encode(arrays: Iterable[npt.NDArray[Any]]) -> Iterator[bytes]:
    for array in arrays:
        yield array.astype(array.dtype.newbyteorder("<")).tobytes()


def _decode(data: bytes, layout: Sequence[tuple[str, int]]) -> Iterator[npt.NDArray[Any]]:
    start = 0
    for dtype, count in layout:
        size = np.dtype(dtype).itemsize * count
        yield np.frombuffer(data[start : start + size], dtype, count).astype(np.dtype(dtype).newbyteorder("="))
        start += size


def _read(file: IndexFile, offset: int, size: int) -> bytes:
    buffer = bytearray(size)
    file.read_into(memoryview(buffer), offset)
    return bytes(buffer)
