"""In which order samples are read: pure functions of seed and pass, of which any stretch is had without the rest.

A pass goes through the shards in a random order and cuts that order into blocks of `block_shards` shards; the samples
of a block come in random order. So a reader has the shards of one block open, two where blocks meet, and neighbours in
the order come from any shard of the block. One block of all shards is a shuffle of the whole dataset.

A shard's place in a pass is decided by its number alone: adding shards at the end keeps the order of the others.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from shardforge.errors import UsageError
from shardforge.loader.randomness import Int64Array, derive_key, hash_counters, permute

#: Shards whose samples are shuffled together; docs/loader.md has what other values cost and give.
BLOCK_SHARDS = 16


class Sampler(ABC):
    """An unending sequence of sample numbers, made of passes of `samples` draws each."""

    samples: int

    def take(self, start: int, stop: int) -> Int64Array:
        """Return the sample numbers at positions [start, stop) of the sequence; they may lie in several passes."""
        parts = [np.empty(0, np.int64)]
        while start < stop:
            number, first = divmod(start, self.samples)
            end = min(self.samples, first + stop - start)
            parts.append(self.take_in_pass(number, first, end))
            start += end - first
        return np.concatenate(parts)

    @abstractmethod
    def take_in_pass(self, number: int, start: int, stop: int) -> Int64Array:
        """Return the sample numbers at positions [start, stop) of a pass, 0 <= start <= stop <= samples."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what decides the sequence, as JSON: equal descriptions give equal sequences."""


class Sequential(Sampler):
    """Samples as they lie in the shards, each pass the same."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def take_in_pass(self, number: int, start: int, stop: int) -> Int64Array:
        """Return the positions themselves."""
        return np.arange(start, stop)

    def describe(self) -> dict[str, Any]:
        """Return kind and size."""
        return {"kind": "sequential", "samples": self.samples}


class _Pass(NamedTuple):
    """The layout of one pass: where shards and blocks start in it; `*_starts` end with the number of samples."""

    number: int
    shard_starts: Int64Array
    first_samples: Int64Array
    block_starts: Int64Array


class Shuffled(Sampler):
    """Each sample once a pass, shuffled in blocks of shards; `lengths` holds the samples of each shard."""

    def __init__(self, lengths: Int64Array, *, seed: int, block_shards: int = BLOCK_SHARDS) -> None:
        if block_shards < 1:
            raise UsageError(f"block_shards {block_shards}: at least one shard makes a block; give 1 or more")
        self.samples = int(lengths.sum())
        self._lengths = np.asarray(lengths, np.int64)
        self._seed = seed
        self._block_shards = block_shards
        self._latest = self._lay_out(0)

    def take_in_pass(self, number: int, start: int, stop: int) -> Int64Array:
        """Return the sample numbers at positions [start, stop) of a pass."""
        layout = self._latest
        if number != layout.number:
            layout = self._latest = self._lay_out(number)
        _, shard_starts, first_samples, block_starts = layout
        positions = np.arange(start, stop)
        block = _find_interval(block_starts, positions)
        key = hash_counters(derive_key(self._seed, number, 1), block)
        first = block_starts[block]
        positions = first + permute(positions - first, block_starts[block + 1] - first, key)
        shard = _find_interval(shard_starts, positions)
        return first_samples[shard] + positions - shard_starts[shard]

    def describe(self) -> dict[str, Any]:
        """Return kind, seed and block size; the lengths are part of the data's fingerprint."""
        return {"kind": "shuffled", "seed": self._seed, "block_shards": self._block_shards}

    def _lay_out(self, number: int) -> _Pass:
        shards = np.argsort(hash_counters(derive_key(self._seed, number, 0), np.arange(len(self._lengths))))
        first_samples = np.cumsum(self._lengths) - self._lengths
        shard_starts = np.concatenate([[0], np.cumsum(self._lengths[shards])])
        block_starts = np.append(shard_starts[: -1 : self._block_shards], self.samples)
        return _Pass(number, shard_starts, first_samples[shards], block_starts)


class Chosen(Sampler):
    """The samples numbered `kept`, in the order of a sampler over `count_kept(lengths, kept)`."""

    def __init__(self, sampler: Sampler, kept: Int64Array) -> None:
        self.samples = sampler.samples
        self._sampler = sampler
        self._kept = kept

    def take_in_pass(self, number: int, start: int, stop: int) -> Int64Array:
        """Return the sample numbers at positions [start, stop) of a pass."""
        return self._kept[self._sampler.take_in_pass(number, start, stop)]

    def describe(self) -> dict[str, Any]:
        """Return the inner order and a digest of what is kept."""
        return {**self._sampler.describe(), "kept": digest_array(self._kept)}


def count_kept(lengths: Int64Array, kept: Int64Array) -> Int64Array:
    """Return how many of the sample numbers `kept` (ascending) lie in each shard."""
    ends = np.searchsorted(kept, np.cumsum(lengths))
    return np.diff(ends, prepend=0)


def digest_array(array: np.ndarray) -> str:
    """Return 16 hex digits that stand for an array's values and type."""
    content = np.ascontiguousarray(array)
    return hashlib.sha256(content.dtype.str.encode() + content.tobytes()).hexdigest()[:16]


def _find_interval(starts: Int64Array, positions: Int64Array) -> Int64Array:
    """Return for each position the interval that holds it; empty intervals hold none."""
    return np.searchsorted(starts, positions, side="right") - 1
