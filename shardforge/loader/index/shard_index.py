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
from shardforge.loader.index.file import OpenIndex, open_columns, read_hashes
from shardforge.loader.index.pages import Int64Array, UInt32Array
from shardforge.loader.network import hide_credentials
from shardforge.loader.storage import ShardReader
from shardforge.samples import hash_keys, split_name
from shardforge.tarfiles import BLOCK, TarError, iter_members

#: Where members lie: shard number, first byte and size of each; offset 0 where a sample lacks the member.
Places = tuple[npt.NDArray[np.int32], Int64Array, Int64Array]


class ShardIndex:
    """An open index file and the shards that it describes; samples are numbered through all shards in order.

    Attributes:
        lengths: samples of each shard.
        labels: class of each sample, -1 for none.
        extensions: those of all members, in lower case and without the first dot.
        fingerprint: hex digits, a function of the shards' names, lengths and, where known, SHA-256.
        reader: reads the shards.
    """

    def __init__(self, path: Path, columns: OpenIndex, reader: ShardReader, sha256: Sequence[str | None]) -> None:
        self.path = path
        self.reader = reader
        self.lengths: Int64Array = np.diff(columns.starts)
        self.fingerprint = make_fingerprint(reader.urls, self.lengths, sha256)
        self._versions = columns.versions
        self._columns = columns
        self._labels: npt.NDArray[np.int32] | None = None

    @property
    def samples(self) -> int:
        """The number of samples of all shards."""
        return len(self._columns.labels)

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """The class of each sample, -1 for none: all of them, read when they are first asked for.

        Raises:
            DatasetError: the index is damaged.
        """
        if self._labels is None:
            labels = self._columns.labels.read_all()[:, 0].view(np.int32)
            labels.flags.writeable = False  # they are everybody's
            self._labels = labels
        return self._labels

    def labels_of(self, samples: Int64Array) -> npt.NDArray[np.int32]:
        """Return the class of each of these samples, -1 for none.

        Raises:
            DatasetError: the index is damaged.
        """
        if self._labels is not None:
            return self._labels[samples]
        return self._columns.labels.take(samples)[:, 0].view(np.int32)

    @property
    def extensions(self) -> tuple[str, ...]:
        """The extensions of all members."""
        return self._columns.extensions

    def locate(self, samples: Int64Array, extension: str) -> Places:
        """Return where the samples' members with this extension lie.

        Raises:
            KeyError: no sample has such a member.
            DatasetError: the index is damaged.
        """
        offsets, sizes, _ = self.pick(self.places(samples), extension)
        return self.find_shards(samples), offsets, sizes

    def places(self, samples: Int64Array) -> Int64Array:
        """Return where all members of samples lie, for `pick`.

        Raises:
            DatasetError: the index is damaged.
        """
        return self._columns.places.take(samples).T.astype(np.int64, order="C")

    def pick(self, places: Int64Array, extension: str) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Return first byte (0: none), size and CRC-32 (where shards know it) of the members with this extension.

        Raises:
            KeyError: no sample has such a member.
        """
        first, last = self._columns.member_numbers[extension]
        return places[first] * BLOCK, places[first + 1], places[last]

    def know_crcs(self, shards: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Tell of each shard, by its number, whether the CRC-32s of its members are known."""
        return self._columns.checked[shards]

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
        """Return the sample of each key, -1 for keys that are not there; by hashes of 64 bits, reading no shard.

        Raises:
            DatasetError: the index is damaged.
        """
        wanted = hash_keys(keys)
        found = np.full(len(wanted), -1, np.int64)
        # The first of equal hashes may stand at the end of the page before the first page that begins with it.
        pages = np.searchsorted(self._columns.hashes, wanted)
        self._find_in(np.maximum(pages - 1, 0), np.full(len(wanted), len(self._columns.hashes) > 0), wanted, found)
        ends = np.append(self._columns.hashes, np.uint64(0))[pages]
        self._find_in(pages, (found < 0) & (pages < len(self._columns.hashes)) & (ends == wanted), wanted, found)
        return found

    def _find_in(
        self, pages: Int64Array, chosen: npt.NDArray[np.bool_], wanted: npt.NDArray[np.uint64], found: Int64Array
    ) -> None:
        """Fill in the samples of the chosen ones among hashes, each looked for in its page."""
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(pages[rows], kind="stable")]
        for part in np.split(rows, np.flatnonzero(np.diff(pages[rows])) + 1) if len(rows) else ():
            keys = self._columns.keys.page(int(pages[part[0]]))
            hashes = read_hashes(keys)
            places = np.minimum(np.searchsorted(hashes, wanted[part]), len(hashes) - 1)
            found[part] = np.where(hashes[places] == wanted[part], self._samples_in(keys[places]), np.int64(-1))

    def find_repeated(self) -> Int64Array:
        """Return the first sample of each key that occurs more than once in its shard, by hashes of 64 bits.

        Raises:
            DatasetError: the index is damaged.
        """
        keys = self._columns.keys.read_all()
        hashes, order = read_hashes(keys), self._samples_in(keys)
        equal = np.flatnonzero(hashes[1:] == hashes[:-1])
        samples = order[equal]
        shards = self.find_shards(samples)
        near = shards == self.find_shards(order[equal + 1])
        runs = np.stack([shards[near].astype(np.uint64), hashes[equal[near]]])
        first = np.unique(runs, axis=1, return_index=True)[1]
        return np.sort(samples[near][first])

    def _members_of(self, sample: int) -> list[tuple[int, int]]:
        """Return offset and size of each member that a sample has."""
        places = self.places(np.array([sample]))[:, 0].tolist()
        return [
            (places[first] * BLOCK, places[first + 1])
            for first, _ in self._columns.member_numbers.values()
            if places[first]
        ]

    def _find_hash(self, key: str) -> list[int]:
        """Return the samples whose keys have the hash of this one."""
        (wanted,) = hash_keys([key])
        firsts = self._columns.hashes
        found: list[int] = []
        for page in range(max(0, int(firsts.searchsorted(wanted)) - 1), int(firsts.searchsorted(wanted, "right"))):
            rows = self._columns.keys.page(page)
            hashes = read_hashes(rows)
            rows = rows[hashes.searchsorted(wanted) : hashes.searchsorted(wanted, "right")]
            found += self._samples_in(rows).tolist()
        return found

    def _samples_in(self, keys: UInt32Array) -> Int64Array:
        """Return the samples of rows of keys.

        Raises:
            DatasetError: there are no such.
        """
        samples = keys[:, 2].astype(np.int64)
        if samples.max(initial=-1) >= self.samples:
            raise DatasetError(
                f"{self.path}: has a key of sample {samples.max():,} of {self.samples:,}; delete this index, and it is "
                "made anew when the dataset is next opened"
            )
        return samples

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
        return self.__dict__ | {"_columns": None, "_labels": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._columns = open_columns(self.path)
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
