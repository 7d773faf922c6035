"""Where the bytes of shards come from: files of this machine, read in place, or remote ones, through a cache."""

from __future__ import annotations

from collections.abc import Sequence

from shardforge.loader.places import is_remote
from shardforge.loader.shards import Shard
from shardforge.loader.storage.base import ShardFile, ShardStat, Storage, number_of
from shardforge.loader.storage.local import LocalStorage
from shardforge.loader.storage.reader import ShardReader
from shardforge.loader.storage.remote import RemoteOptions, RemoteStorage

__all__ = ["RemoteOptions", "ShardFile", "ShardReader", "ShardStat", "Storage", "number_of", "open_storage"]


def open_storage(shards: Sequence[Shard], remote: RemoteOptions | None = None) -> Storage:
    """Return the storage that opens these shards; `remote` is for those behind URLs."""
    if any(is_remote(shard.url) for shard in shards):
        return RemoteStorage(shards, remote or RemoteOptions())
    return LocalStorage()
