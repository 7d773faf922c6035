"""Shards behind URLs: whole ones through a cache on this machine's disk, or the parts that are asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shardforge.errors import DatasetError
from shardforge.loader.network import Retries, describe_file, hide_credentials
from shardforge.loader.places import is_remote
from shardforge.loader.ranges import read_pieces, read_ranges
from shardforge.loader.shards import Shard
from shardforge.loader.storage.base import DamagedCopyError, ShardFile, ShardStat, number_of
from shardforge.loader.storage.cache import Opened, ShardCache
from shardforge.loader.storage.local import LocalFile, LocalStorage, explain_read_error
from shardforge.loader.storage.prefetch import Prefetcher

#: What file systems call that which changes with the content of a file.
_VALIDATORS = (
    *("ETag", "etag", "Content-MD5", "md5Hash", "content_md5", "Digest", "blob_id", "generation"),
    *("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "created"),
)
#: Requests for sizes under way at a time.
_ASKERS = 16
_ONCE = Retries(attempts=1)


@dataclass(frozen=True)
class RemoteOptions:
    """How shards behind URLs are read.

    Attributes:
        cache_dir: folder for downloaded shards, which may be shared by all processes of this machine; None: the user's
            cache.
        cache_bytes: its size limit. With 0 nothing is kept: each read asks for its bytes, which suits few samples.
        ahead: shards downloaded before they are needed, as many as fit in half of the cache.
        retries: of requests that fail for a reason that may pass.
    """

    cache_dir: Path | None = None
    cache_bytes: int = 32 << 30
    ahead: int = 16
    retries: Retries = field(default_factory=Retries)


class CachedFile(LocalFile):
    """A shard in the cache, with the size and version that the remote one has; what is damaged there is forgotten."""

    def __init__(self, url: str, folder: Path, opened: Opened, stat: ShardStat, forget: Callable[[], None]) -> None:
        super().__init__(f"{hide_credentials(url)} (its copy in {folder})", opened.handle)
        self.stat = stat
        self._checks = opened.checks
        self._forget = forget

    def read(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Return the bytes of each span, whose pieces are compared with what was downloaded when they are first read.

        Raises:
            DamagedCopyError: they are no longer the same.
            DatasetError: as for `LocalFile`.
        """
        spans = super().read(offsets, sizes)
        if self._checks is None:
            return spans
        for offset, size in zip(offsets, sizes, strict=True):
            try:
                damaged = self._checks.find_damage(offset, size)
            except OSError as error:
                raise explain_read_error(error, self._path) from error
            if damaged is not None:
                self._forget()
                raise DamagedCopyError(
                    f"{self._path}: the copy is not what was downloaded, from byte {damaged:,} on; it is "
                    "removed, and comes again with the next run: see whether the disk of the cache is well"
                )
        return spans


class RangedFile:
    """A shard of which each read asks the server for its part."""

    compares = True

    def __init__(self, url: str, stat: ShardStat, retries: Retries) -> None:
        self.stat = stat
        self._url = url
        self._retries = retries

    def read(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Return the bytes of each span.

        Raises:
            DatasetError: the shard ends before one of them does, or cannot be read.
        """
        return read_ranges(self._url, offsets, sizes, self._retries)


class RemoteStorage:
    """Opens shards by their URLs, and those of this machine by their paths.

    A shard whose size and SHA-256 the manifest says is downloaded and compared with them; of others the size and the
    version (ETag, or time of change) are asked for when they are indexed, before each download and after it.
    """

    max_open = 32  # those of two blocks; removed shards take up the disk as long as they are open

    def __init__(self, shards: Iterable[Shard], options: RemoteOptions) -> None:
        self._options = options
        self._local = LocalStorage()
        self._stats: dict[str, ShardStat] = {}
        self._sha256: dict[str, str] = {}
        for shard in shards:
            if is_remote(shard.url) and shard.sha256 is not None and shard.bytes is not None:
                self._sha256[shard.url] = shard.sha256
                self._stats[shard.url] = ShardStat(shard.bytes, number_of(shard.sha256))
        self._cache = None
        if options.cache_bytes:
            self._cache = ShardCache(options.cache_dir or _user_cache(), options.cache_bytes)
        self._prefetcher = Prefetcher(self._fetch)

    @property
    def compares(self) -> bool:
        """Whether parts come from a server: whole shards are compared when they are downloaded."""
        return self._cache is None

    @property
    def ahead(self) -> int:
        """As many shards as asked for, of the largest, in half of the cache."""
        largest = max((stat.size for stat in self._stats.values()), default=0)
        return min(self._options.ahead, self._options.cache_bytes // 2 // max(1, largest))

    def stat(self, urls: Sequence[str]) -> list[ShardStat]:
        """Return sizes and versions, from the manifest or asked for.

        Raises:
            DatasetError: there is no such shard, or the network is gone.
        """
        unknown = [url for url in dict.fromkeys(urls) if is_remote(url) and url not in self._stats]
        if unknown:
            with ThreadPoolExecutor(_ASKERS) as pool:
                self._stats.update(zip(unknown, pool.map(self._ask, unknown), strict=True))
        return [self._stats[url] if is_remote(url) else self._local.stat([url])[0] for url in urls]

    def open(self, url: str) -> ShardFile:
        """Open a shard, downloaded first unless the cache has it or nothing is to be kept.

        Raises:
            DatasetError: it is missing, changed or damaged, the network is gone, or the disk is full.
        """
        if not is_remote(url):
            return self._local.open(url)
        (stat,) = self.stat([url])
        if self._cache is not None:
            return self._open_cached(self._cache, url, stat)
        self._check_version(url, stat)
        return RangedFile(url, stat, self._options.retries)

    def _open_cached(self, cache: ShardCache, url: str, stat: ShardStat) -> CachedFile:
        name, former = self._names(url)
        retries = self._options.retries
        opened = cache.open(name, stat.size, lambda: self._download(url, stat, retries), former=former)
        return CachedFile(url, cache.folder, opened, stat, lambda: cache.forget(name, opened.handle))

    def prefetch(self, urls: Sequence[str]) -> None:
        """Download shards in the background, in this order."""
        if self._cache is not None:
            self._prefetcher.submit(filter(is_remote, urls))

    def _fetch(self, url: str) -> None:
        """Download a shard before it is needed; a request that fails is left to who needs it."""
        assert self._cache is not None
        (stat,) = self.stat([url])
        name, former = self._names(url)
        self._cache.fetch(name, stat.size, lambda: self._download(url, stat, _ONCE), former=former)

    def _names(self, url: str) -> tuple[str, str]:
        """Return what the shard is called in the cache, and was by 0.1.0: made of what is known of its content."""
        content = self._sha256.get(url) or f"{url}\0{self._stats[url]}"
        former = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()
        return hashlib.sha256(f"checked\0{former}".encode()).hexdigest()[:32], former[:32]

    def _download(self, url: str, stat: ShardStat, retries: Retries) -> Iterator[bytes]:
        """Yield the bytes of a shard, which are those of its version when this ends."""
        expected = self._sha256.get(url)
        if expected is None:
            self._check_version(url, stat)
        digest = hashlib.sha256()
        for piece in read_pieces(url, stat.size, retries):
            digest.update(piece)
            yield piece
        if expected is None:
            self._check_version(url, stat)
        elif digest.hexdigest() != expected:
            raise DatasetError(
                f"{hide_credentials(url)}: its SHA-256 is not that of the manifest: it was damaged or replaced; upload "
                "shard and manifest again"
            )

    def _ask(self, url: str) -> ShardStat:
        found = describe_file(url, self._options.retries)
        known = [f"{name}={found[name]}" for name in _VALIDATORS if found.get(name)]
        return ShardStat(found["size"], number_of("\n".join(known)))

    def _check_version(self, url: str, stat: ShardStat) -> None:
        """Compare what the server has now with what it had; of a shard with a known SHA-256, the size alone."""
        now = self._ask(url)
        if now.size != stat.size or (url not in self._sha256 and now != stat):
            raise DatasetError(
                f"{hide_credentials(url)}: changed since it was indexed: it has {now.size:,} bytes, expected "
                f"{stat.size:,}, or another ETag or time of change; open the dataset again to index it anew"
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_prefetcher": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prefetcher = Prefetcher(self._fetch)


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shardforge" / "shards"
