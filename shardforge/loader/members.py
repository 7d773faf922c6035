"""Finds and reads members of many samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shardforge.loader.index import ShardIndex
from shardforge.loader.index.pages import Int64Array
from shardforge.samples import IMAGE_EXTENSIONS

#: A member's bytes for each sample, None where it has no such member.
Column = list[bytes | None]

#: Stands for the first member of a sample that is an image, whatever its format.
IMAGE = "image"


def locate_members(index: ShardIndex, samples: Int64Array, name: str) -> tuple[Int64Array, Int64Array]:
    """Return the first byte and the size of each sample's member `name`, an extension or "image"; offset 0: none."""
    return _pick(index, index.places(samples), name)[:2]


def _pick(index: ShardIndex, places: Int64Array, name: str) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Return the first byte, the size and the CRC-32 of the member `name` of samples whose members lie in `places`."""
    if name != IMAGE:
        return index.pick(places, name)
    extensions = [extension for extension in IMAGE_EXTENSIONS if extension in index.extensions]
    offsets, sizes, crcs = index.pick(places, extensions[0])
    for extension in extensions[1:]:
        present = offsets > 0
        others = index.pick(places, extension)
        offsets, sizes, crcs = (np.where(present, *both) for both in zip((offsets, sizes, crcs), others, strict=True))
    return offsets, sizes, crcs


def read_members(index: ShardIndex, samples: Int64Array, names: Sequence[str]) -> list[Column]:
    """Return a column for each of `names`.

    Raises:
        DatasetError: a shard cannot be read, or is no longer the one that was indexed.
    """
    if not names:
        return []
    count = len(samples)
    places = index.places(samples)
    found = [_pick(index, places, name) for name in names]
    offsets, sizes, crcs = (np.concatenate(part) for part in zip(*found, strict=True))
    shards = np.concatenate([index.find_shards(samples)] * len(names))
    known = np.where(index.know_crcs(shards), crcs, -1) if index.reader.storage.compares else None
    spans = index.reader.read_spans(shards, offsets, sizes, known)
    return [spans[start : start + count] for start in range(0, count * len(names), count)]
