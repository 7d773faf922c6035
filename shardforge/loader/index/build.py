"""Opens the index of a set of shards, and makes it first where there is none or the shards have changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from shardforge.errors import DatasetError
from shardforge.executors import Executor
from shardforge.loader.index.cache import choose_place, identify, list_places, one_builder, remove_former
from shardforge.loader.index.file import OpenIndex, join_rows, open_columns, write_columns
from shardforge.loader.index.rows import ShardRows
from shardforge.loader.index.shard_index import ShardIndex
from shardforge.loader.index.walk import walk_file, walk_shard
from shardforge.loader.network import hide_credentials
from shardforge.loader.places import exists, is_remote
from shardforge.loader.shards import Shard, ShardSet
from shardforge.loader.storage import RemoteOptions, ShardReader, Storage, number_of, open_storage

Progress = Callable[[str, int, int], None]


def open_index(
    sets: Sequence[ShardSet],
    *,
    remote: RemoteOptions | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    check_sha256: bool = False,
) -> ShardIndex:
    """Open the index of the shards of `sets`, made anew when it is missing or of other shards.

    A shard is another one when its size changes, or its SHA-256 in the manifest, or else its time of change.

    Datasets of ours are indexed from `index/*.parquet`, others by a walk over the headers of each tar, on the workers
    of `executor` where one is given. Remote shards are read as `remote` says. With
    `check_sha256` a shard's content is compared with the manifest's SHA-256 when it is first read.

    Raises:
        DatasetError: a shard is missing, damaged, or not as large as the manifest says.
    """
    shards = [shard for part in sets for shard in part.shards]
    urls = [shard.url for shard in shards]
    storage = open_storage(shards, remote)
    stats = _stat_shards(shards, storage)
    versions = _tell_versions(shards, stats)
    identity = identify(urls)
    places = list_places(sets)
    path, columns = _find_columns(places, identity, versions) or (choose_place(places), None)
    if columns is None:
        with one_builder(path.parent):
            found = _find_columns([path], identity, versions)  # another process may have made it meanwhile
            columns = found[1] if found else _make_columns(path, sets, identity, versions, storage, executor, progress)
    sha256 = [shard.sha256 for shard in shards]
    reader = ShardReader(storage, urls, stats, sha256=sha256 if check_sha256 else None)
    return ShardIndex(path, columns, reader, sha256)


def _stat_shards(shards: Sequence[Shard], storage: Storage) -> np.ndarray:
    stats = storage.stat([shard.url for shard in shards])
    for shard, stat in zip(shards, stats, strict=True):
        if shard.bytes is not None and stat.size != shard.bytes:
            raise DatasetError(
                f"{hide_credentials(shard.url)}: has {stat.size:,} bytes, but its manifest says {shard.bytes:,}; "
                "restore it with `shardforge verify --repair`"
            )
    return np.array(stats, np.int64).reshape(-1, 2)


def _tell_versions(shards: Sequence[Shard], stats: np.ndarray) -> np.ndarray:
    """Return sizes and versions as the index keeps them: where a manifest says the SHA-256, copies keep their index."""
    versions = stats.copy()
    for shard, version in zip(shards, versions, strict=True):
        if shard.sha256 is not None:
            version[1] = number_of(shard.sha256)
    return versions


def _find_columns(places: list[Path], identity: str, versions: np.ndarray) -> tuple[Path, OpenIndex] | None:
    """Return the first index file that describes the shards as they are now."""
    for path in places:
        try:
            columns = open_columns(path)
        except (OSError, DatasetError):  # none, or of another version: it is made anew
            continue
        if columns.identity == identity and np.array_equal(columns.versions, versions):
            return path, columns
    return None


def _make_columns(
    path: Path,
    sets: Sequence[ShardSet],
    identity: str,
    versions: np.ndarray,
    storage: Storage,
    executor: Executor | None,
    progress: Progress | None,
) -> OpenIndex:
    rows = []
    for shard_rows in itertools.chain.from_iterable(_index_shards(shards, storage, executor) for shards in sets):
        rows.append(shard_rows)
        if progress is not None:
            progress("index", len(rows), len(versions))
    write_columns(path, join_rows(identity, versions, rows))
    remove_former(path)
    return open_columns(path)


def _index_shards(shards: ShardSet, storage: Storage, executor: Executor | None) -> Iterator[ShardRows]:
    """Yield the rows of each shard in turn."""
    urls = [shard.url for shard in shards.shards]
    numbered = all(shard.row_group is not None for shard in shards.shards)
    if shards.index is not None and numbered and exists(shards.index):
        from shardforge.loader.index.parquet import read_rows  # pyarrow costs time where it is not needed

        return read_rows(shards.index, shards.shards)
    if any(map(is_remote, urls)):
        return _walk_remote(urls, storage)
    if executor is None:
        return map(walk_shard, urls)
    done = {result.task: result.unwrap() for result in executor.run(walk_shard, urls)}
    return (done[url] for url in urls)


def _walk_remote(urls: list[str], storage: Storage) -> Iterator[ShardRows]:
    """Yield the rows of shards that are read whole, in this process: the network is what takes the time."""
    storage.prefetch(urls[: storage.ahead])
    for number, url in enumerate(urls, storage.ahead):
        storage.prefetch(urls[number : number + 1])
        yield walk_file(url, storage.open(url))
