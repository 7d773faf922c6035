"""The samples of a set of shards: where their members lie, their labels and keys."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shardforge.errors import DatasetError
from shardforge.loader.index.file import Columns, map_columns
from shardforge.loader.network import hide_credentials
from shardforge.loader.storage import ShardReader
from shardforge.samples import hash_keys, split_name
from shardforge.tarfiles import BLOCK, TarError, iter_members

Int64Array = npt.NDArray[np.int64]
#: Where members lie: shard number, first byte and size of each; offset 0 where a sample lacks the member.
Places = tuple[npt.NDArray[np.int32], Int64Array, Int64Array]


class ShardIndex:
    """A mapped index file and the shards that it describes; samples are numbered through all shards in order.

    Attributes:
        lengths: samples of each shard.
        labels: class of each sample, -1 for none.
        extensions: those of all members, in lower case and without the first dot.
        fingerprint: hex digits, a function of the shards' names, lengths and, where known, SHA-256.
        reader: reads the shards.
    """

    def __init__(self, path: Path, columns: Columns, reader: ShardReader, sha256: Sequence[str | None]) -> None:
        self.path = path
        self.reader = reader
        self.lengths: Int64Array = np.diff(columns.starts)
        self.fingerprint = make_fingerprint(reader.urls, self.lengths, sha256)
        self._versions = np.array(columns.versions)
        self._columns = columns

    @property
    def samples(self) -> int:
        """The number of samples of all shards."""
        return len(self._columns.labels)

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """The class of each sample, -1 for none, mapped."""
        return self._columns.labels

    @property
    def extensions(self) -> tuple[str, ...]:
        """The extensions of all members."""
        return tuple(self._columns.members)

    def locate(self, samples: Int64Array, extension: str) -> Places:
        """Return where the samples' members with this extension lie.

        Raises:
            KeyError: no sample has such a member.
        """
        blocks, sizes = self._columns.members[extension]
        return self.find_shards(samples), blocks[samples].astype(np.int64) * BLOCK, sizes[samples].astype(np.int64)

    def find_shards(self, samples: Int64Array) -> npt.NDArray[np.int32]:
        """Return the number of the shard that holds each sample."""
        return (np.searchsorted(self._columns.starts, samples, side="right") - 1).astype(np.int32)

    def key(self, sample: int) -> str:
        """Return a sample's key, read from its shard.

        Raises:
            DatasetError: the shard is no longer the one that was indexed.
        """
        shard = int(self.find_shards(np.array([sample]))[0])
        offset, size = min(self._members_of(sample), key=lambda member: member[1])
        header = self.reader.read(shard, offset - BLOCK, BLOCK + size + -size % BLOCK)
        _, key = next(_iter_keys(header), (offset, None))
        if key is not None and sample in self._find_hash(key):
            return key
        return self._read_long_key(shard, sample, offset, size)

    def find(self, key: str) -> int:
        """Return the number of the first sample with this key.

        Raises:
            KeyError: there is none.
        """
        found = [sample for sample in self._find_hash(key) if self.key(sample) == key]
        if not found:
            raise KeyError(f"{key}: no sample of {len(self.reader.urls)} shards has this key")
        return found[0]

    def find_all(self, keys: Iterable[str]) -> Int64Array:
        """Return the sample of each key, -1 for keys that are not there; by hashes of 64 bits, reading no shard."""
        wanted = hash_keys(keys)
        hashes, order = self._columns.hashes, self._columns.order
        if not len(hashes):
            return np.full(len(wanted), -1, np.int64)
        places = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
        return np.where(hashes[places] == wanted, order[places], np.int64(-1)).astype(np.int64)

    def find_repeated(self) -> Int64Array:
        """Return the first sample of each key that occurs more than once in its shard, by hashes of 64 bits."""
        hashes, order = self._columns.hashes, self._columns.order
        equal = np.flatnonzero(hashes[1:] == hashes[:-1])
        samples = order[equal].astype(np.int64)
        shards = self.find_shards(samples)
        near = shards == self.find_shards(order[equal + 1].astype(np.int64))
        runs = np.stack([shards[near].astype(np.uint64), hashes[equal[near]]])
        first = np.unique(runs, axis=1, return_index=True)[1]
        return np.sort(samples[near][first])

    def _members_of(self, sample: int) -> list[tuple[int, int]]:
        """Return offset and size of each member that a sample has."""
        extents = self._columns.members.values()
        return [(int(blocks[sample]) * BLOCK, int(sizes[sample])) for blocks, sizes in extents if blocks[sample]]

    def _find_hash(self, key: str) -> list[int]:
        wanted = hash_keys([key])[0]
        start, stop = (int(np.searchsorted(self._columns.hashes, wanted, side)) for side in ("left", "right"))
        found: list[int] = self._columns.order[start:stop].tolist()
        return found

    def _read_long_key(self, shard: int, sample: int, offset: int, size: int) -> str:
        """Return a key that a GNU or PAX header before the member's own holds, or else find the shard changed."""
        first = int(self._columns.starts[shard])
        start = 0
        if sample > first:
            start = max(end + count + -count % BLOCK for end, count in self._members_of(sample - 1))
        for place, key in _iter_keys(self.reader.read(shard, start, offset + size + -size % BLOCK - start)):
            if place + start == offset and sample in self._find_hash(key):
                return key
        raise DatasetError(
            f"{hide_credentials(self.reader.urls[shard])}: byte {offset} holds another sample than the index says; "
            f"check the shard with `shardforge verify`, or delete {self.path}"
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_columns": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._columns = map_columns(self.path)
        if not np.array_equal(self._columns.versions, self._versions):
            raise DatasetError(f"{self.path}: was made anew while it was in use; start the run again")


def _iter_keys(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield where the data of each member starts and the key of its sample, up to the first damage."""
    with contextlib.suppress(TarError):
        for member in iter_members(memoryview(data)):
            yield member.data_offset, split_name(member.name)[0]


def make_fingerprint(urls: Sequence[str], lengths: Int64Array, sha256: Sequence[str | None]) -> str:
    """Return hex digits for shards of these names, lengths and, where known, SHA-256."""
    digest = hashlib.sha256()
    for url, samples, known in zip(urls, lengths.tolist(), sha256, strict=True):
        name = hide_credentials(url).rpartition("/")[2]  # a signature in the query is another one each time
        digest.update(f"{name}\0{samples}\0{known or ''}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
