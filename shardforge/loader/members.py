"""Finds and reads members of many samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shardforge.loader.index import ShardIndex
from shardforge.samples import IMAGE_EXTENSIONS

Int64Array = npt.NDArray[np.int64]
#: A member's bytes for each sample, None where it has no such member.
Column = list[bytes | None]

#: Stands for the first member of a sample that is an image, whatever its format.
IMAGE = "image"


def locate_members(index: ShardIndex, samples: Int64Array, name: str) -> tuple[Int64Array, Int64Array]:
    """Return the first byte and the size of each sample's member `name`, an extension or "image"; offset 0: none."""
    if name != IMAGE:
        return index.locate(samples, name)[1:]
    offsets, sizes = np.zeros((2, len(samples)), np.int64)
    for extension in filter(index.extensions.__contains__, IMAGE_EXTENSIONS):
        _, found, found_sizes = index.locate(samples, extension)
        sizes = np.where(offsets > 0, sizes, found_sizes)
        offsets = np.where(offsets > 0, offsets, found)
    return offsets, sizes


def read_members(index: ShardIndex, samples: Int64Array, names: Sequence[str]) -> list[Column]:
    """Return a column for each of `names`.

    Raises:
        DatasetError: a shard cannot be read, or is no longer the one that was indexed.
    """
    if not names:
        return []
    count = len(samples)
    places = [locate_members(index, samples, name) for name in names]
    offsets, sizes = (np.concatenate([np.empty(0, np.int64), *part]) for part in zip(*places, strict=True))
    spans = index.reader.read_spans(np.tile(index.find_shards(samples), len(names)), offsets, sizes)
    return [spans[start : start + count] for start in range(0, count * len(names), count)]
