"""Random numbers and permutations as pure functions of a key and a counter: nothing is drawn, so nothing has a state.

All of it is 64-bit integer arithmetic on SplitMix64 (Steele, Lea and Flood 2014), so the numbers are the same for
every version of numpy and on every machine. numpy's own `Generator` gives no such promise: its methods, `permutation`
and `shuffle` among them, may change their streams with any release (NEP 19).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]

_WORD = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
# Four rounds of a Feistel network hide its structure; two more are cheap and help the smallest sizes.
_ROUNDS = 6


def derive_key(*parts: int) -> int:
    """Return a 64-bit key for these numbers, in this order: keys of different numbers are unrelated."""
    key = np.zeros(1, np.uint64)
    for part in parts:
        key = _mix((key ^ np.uint64(int(part) & _WORD)) + np.uint64(_GAMMA))
    return int(key[0])


def hash_counters(key: int | UInt64Array, counters: Int64Array) -> UInt64Array:
    """Return for each counter n the n-th output, from 0, of SplitMix64 seeded with `key`: 64 random bits.

    Different counters give different numbers under one key.
    """
    return _mix(np.asarray(key, np.uint64) + (counters.astype(np.uint64) + np.uint64(1)) * np.uint64(_GAMMA))


def hash_fractions(key: int | UInt64Array, counters: Int64Array) -> npt.NDArray[np.float64]:
    """Return for each counter a number in [0, 1), from the upper 53 bits of its hash."""
    fractions: npt.NDArray[np.float64] = (hash_counters(key, counters) >> np.uint64(11)) * np.float64(2.0**-53)
    return fractions


def permute(positions: Int64Array, sizes: int | Int64Array, keys: int | UInt64Array) -> Int64Array:
    """Return where each position goes in a random permutation of 0..size-1 that its key selects; 0 <= position < size.

    A Feistel network permutes the smallest power of two that holds the size, and what falls outside goes through it
    again (cycle walking), so any part of a permutation is had without the rest.
    """
    size = np.broadcast_to(np.asarray(sizes, np.uint64), positions.shape)
    key = np.broadcast_to(np.asarray(keys, np.uint64), positions.shape)
    bits = np.frexp((size - np.uint64(1)).astype(np.float64))[1].astype(np.uint64)
    result = _permute_power(positions.astype(np.uint64), bits, key)
    outside = np.flatnonzero(result >= size)
    while len(outside):
        walked = _permute_power(result[outside], bits[outside], key[outside])
        result[outside] = walked
        outside = outside[walked >= size[outside]]
    return result.astype(np.int64)


def _permute_power(values: UInt64Array, bits: UInt64Array, keys: UInt64Array) -> UInt64Array:
    """Return a permutation of 0..2**bits-1 at `values`: each half in turn takes up a hash of the other."""
    one = np.uint64(1)
    low_bits = bits >> one
    low_mask, high_mask = (one << low_bits) - one, (one << (bits - low_bits)) - one
    low, high = values & low_mask, values >> low_bits
    for number in range(_ROUNDS):
        keys = keys + np.uint64(_GAMMA)
        if number % 2:
            low = low ^ (_mix(high + keys) & low_mask)
        else:
            high = high ^ (_mix(low + keys) & high_mask)
    joined: UInt64Array = high << low_bits | low
    return joined


def _mix(values: UInt64Array) -> UInt64Array:
    """Return SplitMix64's finaliser of `values`: a one-to-one map in which every input bit moves every output bit."""
    mixed = values ^ (values >> np.uint64(30))
    mixed *= _MULTIPLIERS[0]
    mixed ^= mixed >> np.uint64(27)
    mixed *= _MULTIPLIERS[1]
    mixed ^= mixed >> np.uint64(31)
    return mixed
