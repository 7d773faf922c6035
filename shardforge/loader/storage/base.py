"""What the loader asks of a place that holds shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class ShardStat(NamedTuple):
    """What tells one state of a shard from another: its size in bytes and its time of change in ns (0: unknown)."""

    size: int
    mtime: int


class ShardFile(Protocol):
    """An open shard. Any number of threads may read it at once; it closes when nothing refers to it any more."""

    stat: ShardStat

    def read(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Return the bytes of each span, offsets ascending.

        Raises:
            DatasetError: the shard ends before one of them does, or cannot be read.
        """
        ...


class Storage(Protocol):
    """Opens shards by their URLs. Picklable: worker processes get a copy."""

    def stat(self, url: str) -> ShardStat:
        """Return a shard's size and time of change without reading it.

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
