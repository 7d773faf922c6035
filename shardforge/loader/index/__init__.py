"""Where each member of each sample lies, in one mapped file for all shards of a set."""

from __future__ import annotations

from shardforge.loader.index.build import open_index
from shardforge.loader.index.shard_index import ShardIndex

__all__ = ["ShardIndex", "open_index"]
