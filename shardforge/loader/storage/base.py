"""What the loader asks of a place that holds shards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from shardforge.errors import DatasetError


class DamagedCopyError(DatasetError):
    """A copy of a shard is damaged and was thrown away: opened again, the shard comes anew."""


class ShardStat(NamedTuple):
    """What tells one state of a shard from another: its size in bytes and its time of change in ns.

    In place of the time, a remote shard has a number that changes with its content.
    """

    size: int
    mtime: int


def number_of(version: str) -> int:
    """Return a number of 60 bits for the text that names a version, to stand where a time of change would."""
    return int(hashlib.sha256(version.encode()).hexdigest()[:15], 16)


class ShardFile(Protocol):
    """An open shard. Any number of threads may read it at once; it closes when nothing refers to it any more.

    `compares` says that its bytes come from somebody else: they are to be compared with the CRC-32s that are known.
    """

    stat: ShardStat
    compares: bool

    def read(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Return the bytes of each span, offsets ascending.

        Raises:
            DatasetError: the shard ends before one of them does, or cannot be read.
        """
        ...


class Storage(Protocol):
    """Opens shards by their URLs. Picklable: worker processes get a copy."""

    @property
    def max_open(self) -> int:
        """Shards that a process should have open at a time."""
        ...

    @property
    def compares(self) -> bool:
        """Whether any of its shards has to be compared with CRC-32s; see `ShardFile`."""
        ...

    @property
    def ahead(self) -> int:
        """Shards that `prefetch` should be told of before they are needed; 0: none."""
        ...

    def stat(self, urls: Sequence[str]) -> list[ShardStat]:
        """Return sizes and times of change of shards without reading them.

        Raises:
            DatasetError: there is no such shard.
        """
        ...

    def open(self, url: str) -> ShardFile:
        """Open a shard for reading.

        Raises:
            DatasetError: there is no such shard, or it cannot be opened.
        """
        ...

    def prefetch(self, urls: Sequence[str]) -> None:
        """Hint that these shards are read soon, in this order; returns at once."""
        ...
