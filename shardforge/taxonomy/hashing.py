"""Hashes of whole columns of strings, so that millions of names are found by binary search in numpy."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

_SEED = 20_758
_ROWS = 1 << 18


def hash_strings(strings: pa.Array) -> np.ndarray:
    """Return a 64-bit hash for each string, the same on every machine; equal hashes are to be checked for equality.

    It is the sum of the bytes, each times a random number for its place (multilinear hashing, modulo 2^64).
    """
    parts = [_hash_rows(strings.slice(start, _ROWS)) for start in range(0, len(strings), _ROWS)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _hash_rows(strings: pa.Array) -> np.ndarray:
    strings = strings.fill_null("")
    _, offsets, data = strings.buffers()
    bounds = np.frombuffer(offsets, np.int32)[strings.offset : strings.offset + len(strings) + 1].astype(np.int64)
    if bounds[-1] == bounds[0]:
        return np.zeros(len(strings), np.uint64)
    values = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]].astype(np.uint64) + np.uint64(1)
    starts = bounds[:-1] - bounds[0]
    lengths = np.diff(bounds)
    places = np.arange(len(values)) - np.repeat(starts, lengths)
    values *= _place_factors(int(lengths.max()))[places]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values, dtype=np.uint64)])
    hashes: np.ndarray = sums[starts + lengths] - sums[starts]
    return hashes


def _place_factors(count: int) -> np.ndarray:
    """Return the random numbers of the first `count` places of a string."""
    return np.random.PCG64(_SEED).random_raw(count).astype(np.uint64)
