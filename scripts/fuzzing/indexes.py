"""The loader's index files: `shardforge.loader.index`, against the checksums in them."""

from __future__ import annotations

import json
import struct
import zlib
from random import Random
from types import SimpleNamespace

import numpy as np
from fuzzing.target import Target, make_folder, require, vary_json

from shardforge.errors import DatasetError
from shardforge.loader.index.file import MAGIC, join_rows, open_columns, write_columns
from shardforge.loader.index.pages import Section
from shardforge.loader.index.rows import Extent, ShardRows
from shardforge.loader.index.shard_index import ShardIndex
from shardforge.samples import hash_keys

_PREFIX = struct.Struct("<QI")
_HEAD = len(MAGIC) + _PREFIX.size
_PLACE = make_folder() / "index"


def make_seeds() -> list[bytes]:
    """Return indexes with CRC-32s, without, with both, of no sample, and of several pages."""
    with_crcs, without = make_rows(3, ("jpg", "cls"), crcs=True), make_rows(4, ("jpg", "json"), crcs=False)
    each = (
        [with_crcs],
        [without],
        [with_crcs, without],
        [make_rows(0, (), crcs=True)],
        [],
        [make_rows(1100, ("jpg",), crcs=False)],
    )
    seeds = []
    for shards in each:
        versions = np.arange(2 * len(shards), dtype=np.int64).reshape(-1, 2)
        write_columns(_PLACE, join_rows("0123456789abcdef", versions, shards))
        seeds.append(_PLACE.read_bytes())
    return seeds


def make_rows(samples: int, extensions: tuple[str, ...], *, crcs: bool) -> ShardRows:
    numbers = np.arange(samples, dtype=np.uint32)
    extent = Extent(3 * numbers + 1, numbers, numbers if crcs else None)
    hashes = hash_keys([f"key{number // 2}" for number in range(samples)])  # each of two samples
    return ShardRows(hashes, np.arange(samples, dtype=np.int32) - 1, dict.fromkeys(extensions, extent))


def mend(data: bytes) -> bytes:
    """Return an index with the CRC-32s of its head and pages made right, as far as it can be followed."""
    try:
        length, _ = _PREFIX.unpack_from(data, len(MAGIC))
        head = bytearray(data[_HEAD : _HEAD + length])
        _mend_pages(data, head)
    except (struct.error, ValueError, LookupError, TypeError, RecursionError, OverflowError):
        if len(data) < _HEAD:
            return data
        head = bytearray(data[_HEAD : _HEAD + length])
    return data[: len(MAGIC)] + _PREFIX.pack(length, zlib.crc32(head)) + head + data[_HEAD + len(head) :]


def _mend_pages(data: bytes, head: bytearray) -> None:
    """Write into the head the CRC-32s of the pages behind it."""
    text, _, _ = head.partition(b"\0")
    described = json.loads(text)
    samples, shards = int(described["samples"]), int(described["shards"])
    place = len(text) + 1 + 8 * (shards + 1) + 16 * shards + shards
    start = _HEAD + len(head)
    for width in (1, int(described["numbers"]), 3):
        section = Section(start, samples, width)
        if section.bytes > len(data):
            raise ValueError("too long")
        for page in range(section.pages):
            first = start + page * (4 * width << section.shift)
            rows = data[first : min(first + (4 * width << section.shift), start + section.bytes)]
            struct.pack_into("<I", head, place, zlib.crc32(rows))
            place += 4
        start += section.bytes


def vary(data: bytes, random: Random) -> bytes:
    """Return an index with another description, and the length of its head made right."""
    text, _, rest = data[_HEAD:].partition(b"\0")
    try:
        described = vary_json(json.loads(text), random)
        length, crc = _PREFIX.unpack_from(data, len(MAGIC))
    except (ValueError, RecursionError, struct.error):
        return data
    changed = json.dumps(described).encode()
    length = min(max(0, length + len(changed) - len(text)), (1 << 64) - 1)
    return data[: len(MAGIC)] + _PREFIX.pack(length, crc) + changed + b"\0" + rest


def check(data: bytes) -> None:
    _PLACE.write_bytes(data)
    try:
        columns = open_columns(_PLACE)
        rows = [section.read_all() for section in (columns.labels, columns.places, columns.keys)]
        shards = len(columns.starts) - 1
        index = ShardIndex(_PLACE, columns, SimpleNamespace(urls=["a.tar"] * shards), [None] * shards)
        numbers = np.arange(min(index.samples, 50))
        for extension in index.extensions:
            index.locate(numbers, extension)
        index.know_crcs(index.find_shards(numbers))
        found = index.find_all(["key0", "key1", "no"])
        require(np.array_equal(index.labels, index.labels_of(np.arange(index.samples))), "labels differ")
        require(np.array_equal(columns.places.take(numbers), rows[1][: len(numbers)]), "places differ")
        require(bool((index.lengths >= 0).all()) and index.lengths.sum() == index.samples, "shards of other lengths")
        index.find_repeated()
        require(bool((found < index.samples).all()), "a key leads to no sample")
    except DatasetError:
        return
    require(mend(data) == data, "one of its checksums is another one")


TARGET = Target(make_seeds, check, mend, vary, most=1 << 15)
