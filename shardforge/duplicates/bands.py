"""Which parts of two hashes must nearly agree when the hashes are near: the pigeonhole principle, applied twice.

A hash has 256 bits: four words of 64, each of four bands of 16. If two hashes differ in at most d bits, then in some
word they differ in at most d // 4, and in some band of that word in at most d // 16. So a search that looks, band by
band, at all pairs whose bands differ in so few bits misses none; and of those pairs nearly all that are not near are
told by the one word that the band belongs to. Up to a distance of 31 that is one bit of a band.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from shardforge.duplicates import MAX_DISTANCE
from shardforge.errors import UsageError

HASH_BITS = 256
WORD_BITS = 64
WORDS = HASH_BITS // WORD_BITS
BAND_BITS = 16
BANDS_PER_WORD = WORD_BITS // BAND_BITS

#: Hashes of shape (n, 4).
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Band:
    """Sixteen bits of a hash: in word `word`, `shift` bits from its low end.

    Near hashes are found by one of their bands at least: there they differ in at most `radius` bits, and in the band's
    word in at most `word_distance`.
    """

    word: int
    shift: int
    radius: int
    word_distance: int

    def values(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        """Return the band of every hash, a number below 65536."""
        return (hashes[:, self.word] >> np.uint64(self.shift)).astype(np.uint16).astype(np.int64)

    def patterns(self) -> Iterator[int]:
        """Yield every way in which two bands may differ, as the bits that do."""
        for differing in range(self.radius + 1):
            for bits in combinations(range(BAND_BITS), differing):
                yield sum(1 << bit for bit in bits)


def plan_bands(distance: int) -> list[Band]:
    """Return the bands in which to look for hashes that differ in at most `distance` bits.

    Raises:
        UsageError: the distance is out of range.
    """
    if not 0 <= distance <= MAX_DISTANCE:
        raise UsageError(f"distance {distance}: give a number of bits from 0 to {MAX_DISTANCE}, of {HASH_BITS}")
    word_distance = distance // WORDS
    return [
        Band(word, shift, word_distance // BANDS_PER_WORD, word_distance)
        for word in range(WORDS)
        for shift in range(0, WORD_BITS, BAND_BITS)
    ]


def measure_distances(left: Hashes, right: Hashes) -> npt.NDArray[np.int64]:
    """Return the number of differing bits, row by row."""
    distances: npt.NDArray[np.int64] = np.bitwise_count(left ^ right).sum(axis=1, dtype=np.int64)
    return distances
