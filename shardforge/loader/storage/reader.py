"""Reads members of many shards, of which only some are open at a time."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shardforge.errors import DatasetError
from shardforge.loader.forks import Lock
from shardforge.loader.network import hide_credentials
from shardforge.loader.storage.base import DamagedCopyError, ShardFile, ShardStat, Storage

#: Bytes read at a time where a whole shard is read.
_PIECE = 8 << 20


class ShardReader:
    """Reads from the shards `urls` by their numbers; to be shared by threads, and picklable.

    `stats` (sizes and times, shape [shards, 2]) are those of the indexed shards: a shard that differs from them when it
    is opened is refused. With `sha256` (one a shard, None where unknown) its content is compared, too, which reads it.
    """

    def __init__(
        self,
        storage: Storage,
        urls: Sequence[str],
        stats: npt.NDArray[np.int64],
        *,
        sha256: Sequence[str | None] | None = None,
    ) -> None:
        self.storage = storage
        self.urls = urls
        self.stats = stats
        self._sha256 = sha256
        self._files: dict[int, ShardFile] = {}
        self._lock = Lock()

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Return `size` bytes of a shard from `offset` on.

        Raises:
            DatasetError: the shard cannot be read, ends too early, or is no longer the one that was indexed.
        """
        return self._read(shard, [offset], [size])[0]

    def read_spans(
        self,
        shards: npt.NDArray[np.int32],
        offsets: npt.NDArray[np.int64],
        sizes: npt.NDArray[np.int64],
        crcs: npt.NDArray[np.int64] | None = None,
    ) -> list[bytes | None]:
        """Return the bytes of each span, None where its offset is 0; each shard is read in the order of its bytes.

        What comes from a server is compared with its CRC-32 in `crcs`, -1 where that is not known.

        Raises:
            DatasetError: see `read`; or the server sent other bytes.
        """
        order = np.lexsort((offsets, shards))
        order = order[offsets[order] > 0]
        numbers = shards[order]
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(order)] if len(order) else []
        starts, lengths = offsets[order].tolist(), sizes[order].tolist()
        data = itertools.chain.from_iterable(
            self._read(int(numbers[begin]), starts[begin:end], lengths[begin:end])
            for begin, end in itertools.pairwise(cuts)
        )
        spans: list[bytes | None] = [None] * len(shards)
        for place, span in zip(order.tolist(), data, strict=True):
            spans[place] = span
        if crcs is not None:
            for place in order[crcs[order] >= 0].tolist():
                self._compare(int(shards[place]), int(offsets[place]), spans[place] or b"", int(crcs[place]))
        return spans

    def _read(self, shard: int, offsets: list[int], sizes: list[int]) -> list[bytes]:
        file = self._open(shard)
        try:
            return file.read(offsets, sizes)
        except DamagedCopyError:
            with self._lock:
                if self._files.get(shard) is file:
                    del self._files[shard]
            return self._open(shard).read(offsets, sizes)

    def _compare(self, shard: int, offset: int, data: bytes, crc: int) -> None:
        if self._open(shard).compares and zlib.crc32(data) != crc:
            raise DatasetError(
                f"{hide_credentials(self.urls[shard])}: the {len(data):,} bytes from byte {offset:,} on that came are "
                "not those that the index has there (another CRC-32); see whether the shard was replaced, or what is "
                "between"
            )

    def _open(self, shard: int) -> ShardFile:
        file = self._files.get(shard)
        if file is not None:
            return file
        with self._lock:
            file = self._files.get(shard)
            if file is None:
                file = self.storage.open(self.urls[shard])
                self._check(shard, file)
                while len(self._files) >= self.storage.max_open:
                    del self._files[next(iter(self._files))]  # closes when the last thread is done with it
                self._files[shard] = file
            return file

    def _check(self, shard: int, file: ShardFile) -> None:
        url = hide_credentials(self.urls[shard])
        indexed = ShardStat(*self.stats[shard].tolist())
        if file.stat != indexed:
            raise DatasetError(
                f"{url}: changed since it was indexed: it has {file.stat.size:,} bytes, expected {indexed.size:,}, or "
                "another time of change; open the dataset again to index it anew"
            )
        expected = self._sha256[shard] if self._sha256 is not None else None
        if expected is not None and _hash(file) != expected:
            raise DatasetError(f"{url}: its SHA-256 is not that of the manifest; restore it with `shardforge verify`")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = Lock()


def _hash(file: ShardFile) -> str:
    """Return the SHA-256 of a shard's bytes as 64 hex digits."""
    digest = hashlib.sha256()
    for offset in range(0, file.stat.size, _PIECE):
        digest.update(file.read([offset], [min(_PIECE, file.stat.size - offset)])[0])
    return digest.hexdigest()
