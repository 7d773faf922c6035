"""A list of shards, and what is known of them before any is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Place = str | Path


@dataclass(frozen=True)
class Shard:
    """A tar's path or URL, and what a manifest says of it; `row_group` is its number in the index of its split."""

    url: str
    samples: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    row_group: int | None = None


@dataclass(frozen=True)
class ShardSet:
    """The shards of one split, in the order that numbers their samples.

    `classes` names the labels where a class file is known; `split` is the shards' split in the `_info.json` that listed
    them, and `index` the path or URL of the index that it names. `root` is the folder of the file that listed them:
    nothing is written beside shards that lie elsewhere.
    """

    shards: tuple[Shard, ...]
    classes: tuple[str, ...] | None = None
    split: str | None = None
    index: str | None = None
    root: str | None = None
