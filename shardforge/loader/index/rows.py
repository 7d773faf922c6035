"""The index of one shard in memory: columns with one value a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shardforge.errors import DatasetError
from shardforge.tarfiles import BLOCK

#: In `labels`: the sample has none.
NO_LABEL = -1
_LIMIT = 1 << 32

UInt32Array = npt.NDArray[np.uint32]


class Extent(NamedTuple):
    """Where a member lies in its shard: first block of its data, 0 where a sample lacks the member, and its bytes.

    `crcs` are the CRC-32s of its data, None where they are not known.
    """

    blocks: UInt32Array
    sizes: UInt32Array
    crcs: UInt32Array | None = None


@dataclass(frozen=True)
class ShardRows:
    """The samples of one shard: 64-bit hashes of their keys, labels (-1: none), and their members by extension."""

    hashes: npt.NDArray[np.uint64]
    labels: npt.NDArray[np.int32]
    members: dict[str, Extent]


def make_extent(
    place: str, offsets: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], crcs: UInt32Array | None = None
) -> Extent:
    """Return where members lie whose data start at byte `offsets` of the shard `place`; offset 0: no member.

    Raises:
        DatasetError: data starts inside a block, or is too large to be indexed.
    """
    if (offsets % BLOCK).any() or (offsets < 0).any() or (sizes < 0).any():
        raise DatasetError(f"{place}: the data of a member does not start at a multiple of {BLOCK} bytes")
    if len(sizes) and (sizes.max() >= _LIMIT or offsets.max() >= _LIMIT * BLOCK):
        raise DatasetError(f"{place}: a member of 4 GiB or more, or beyond 2 TiB, cannot be indexed; write it smaller")
    return Extent((offsets // BLOCK).astype(np.uint32), sizes.astype(np.uint32), crcs)
