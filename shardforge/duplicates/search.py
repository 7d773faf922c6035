"""Finds near hashes among millions without comparing all pairs and without missing one, by their bands (see bands.py).

Memory is bounded by the number of hashes. Nor does time grow with the square of a crowd: hashes that are known to be
connected are not compared with each other again, so ten thousand pictures of one empty scene cost little more than
their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from shardforge.duplicates.bands import BAND_BITS, Band, Hashes, measure_distances, plan_bands
from shardforge.duplicates.extra import connected_components, coo_array

Indices = npt.NDArray[np.int64]
Progress = Callable[[str, int, int], None]

_CHUNK = 1 << 19  # candidates that are compared at a time: what they need stays in the processor's cache
_MOST_EDGES = 1 << 21
# Where a hash meets so many others in one place, a few of them are tried first: in a crowd those connect nearly all.
_CROWD = 4_096
_FEW = 32
#: In a cluster of more hashes than this, pairs are listed with its first ones only.
LISTED_PER_CLUSTER = 1_000

_ROOT_BITS = 40


def link_hashes(hashes: Hashes, distance: int, *, progress: Progress = lambda stage, done, total: None) -> Indices:
    """Return for every hash the smallest index of its cluster.

    Two hashes are in one cluster when a chain of hashes leads from one to the other in steps of at most `distance`
    bits. `hashes` need not be distinct, but identical ones are better given once.
    """
    roots = np.arange(len(hashes))
    bands = plan_bands(distance)
    for done, band in enumerate(bands):
        progress("compare", done, len(bands))
        roots = _link_band(hashes, band, distance, roots)
    progress("compare", len(bands), len(bands))
    return roots


def list_pairs(hashes: Hashes, roots: Indices, distance: int) -> Iterator[tuple[Indices, Indices, Indices]]:
    """Yield left, right and distance of the near pairs, each once with left < right; `roots` is from `link_hashes`.

    Near hashes are in one cluster, so all pairs inside clusters are compared. Of a cluster with more than
    `LISTED_PER_CLUSTER` hashes, the pairs that have one of its first ones are listed.
    """
    order = np.argsort(roots, kind="stable")
    first = np.searchsorted(roots[order], roots[order])
    end = np.searchsorted(roots[order], roots[order], side="right")
    place = np.arange(len(order))
    end[place - first >= LISTED_PER_CLUSTER] = 0
    for left, right in _expand(place + 1, end):
        left, right = order[left], order[right]
        apart = measure_distances(hashes[left], hashes[right])
        near = apart <= distance
        yield left[near], right[near], apart[near]


def find_nearest(
    hashes: Hashes, others: Hashes, distance: int, *, progress: Progress = lambda stage, done, total: None
) -> tuple[Indices, Indices, npt.NDArray[np.bool_]]:
    """Return, for every hash, the index of the nearest of `others` and how many bits it is away; -1 and -1 for none.

    Of equally near ones the first is taken. The third result says which of the `others` are near any hash.
    """
    far = distance + 1
    best = np.full(len(hashes), far * len(others))  # distance and index as one number
    met = np.zeros(len(others), np.bool_)
    bands = plan_bands(distance)
    for done, band in enumerate(bands):
        progress("compare", done, len(bands))
        index = _BandIndex(hashes, band)
        sought, words = band.values(others), others[:, band.word]
        for pattern in band.patterns():
            for left, right in _expand(*index.find(sought ^ pattern)):
                close = np.flatnonzero(np.bitwise_count(words[left] ^ index.words[right]) <= band.word_distance)
                left, right = left[close], index.order[right[close]]
                apart = measure_distances(others[left], hashes[right])
                near = apart <= distance
                met[left[near]] = True
                np.minimum.at(best, right[near], apart[near] * len(others) + left[near])
    progress("compare", len(bands), len(bands))
    found = best < far * len(others)
    nearest = np.where(found, best % max(len(others), 1), -1)
    return nearest, np.where(found, best // max(len(others), 1), -1), met


class _BandIndex:
    """The hashes in the order of one band, those of one band in the order of their clusters."""

    def __init__(self, hashes: Hashes, band: Band, roots: Indices | None = None) -> None:
        values = band.values(hashes)
        keys = values << _ROOT_BITS
        if roots is not None:
            keys |= roots
        self.order = np.argsort(keys)
        self.keys = keys[self.order]
        self.values = values[self.order]
        self.words = hashes[self.order, band.word]
        self._bounds = np.searchsorted(self.values, np.arange((1 << BAND_BITS) + 1))
        self.most = int(np.diff(self._bounds).max())

    def find(self, values: Indices) -> tuple[Indices, Indices]:
        """Return where the hashes with these bands start and end."""
        return self._bounds[values], self._bounds[values + 1]

    def find_smaller(self, pattern: int) -> tuple[Indices, Indices]:
        """Return, for every hash in order, where those start and end whose band differs by `pattern` and whose cluster
        is smaller: so each pair of hashes is met once, and never when they are connected."""
        return self._bounds[self.values ^ pattern], np.searchsorted(self.keys, self.keys ^ (pattern << _ROOT_BITS))


def _link_band(hashes: Hashes, band: Band, distance: int, roots: Indices) -> Indices:
    """Connect the clusters that have hashes near each other which this band can find."""
    edges = _Edges(len(hashes))
    index = _BandIndex(hashes, band, roots)

    def connect() -> None:
        nonlocal roots, index
        roots = edges.connect(roots)
        index = _BandIndex(hashes, band, roots)

    def collect(pattern: int, most: int) -> bool:
        """Add near pairs to the edges; return False when there are so many that they must be connected first."""
        starts, ends = index.find_smaller(pattern)
        for left, right in _expand(starts, np.minimum(ends, starts + most)):
            close = np.flatnonzero(np.bitwise_count(index.words[left] ^ index.words[right]) <= band.word_distance)
            left, right = index.order[left[close]], index.order[right[close]]
            near = measure_distances(hashes[left], hashes[right]) <= distance
            edges.add(left[near], right[near])
            if edges.count >= _MOST_EDGES:
                return False
        return True

    for pattern in band.patterns():
        while index.most >= _CROWD and not collect(pattern, _FEW):
            connect()
        if edges.count >= _CROWD:
            connect()
        while not collect(pattern, len(hashes)):
            connect()
    return edges.connect(roots)


class _Edges:
    """Pairs of near hashes that are still to be connected."""

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes
        self._clear()

    def add(self, left: Indices, right: Indices) -> None:
        if len(left):
            self._pairs.append((left, right))
            self.count += len(left)

    def connect(self, roots: Indices) -> Indices:
        """Return the roots after all pairs were connected, and forget the pairs."""
        if not self._pairs:
            return roots
        left, right = (np.concatenate(side) for side in zip(*self._pairs, strict=True))
        self._clear()
        graph = coo_array((np.ones(len(left), np.bool_), (roots[left], roots[right])), shape=(self._nodes, self._nodes))
        _, component = connected_components(graph, directed=False)
        smallest = np.full(self._nodes, self._nodes)
        np.minimum.at(smallest, component, np.arange(self._nodes))
        merged: Indices = smallest[component][roots]
        return merged

    def _clear(self) -> None:
        self._pairs: list[tuple[Indices, Indices]] = []
        self.count = 0


def _expand(starts: Indices, ends: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Yield, in chunks, every i with each number from starts[i] up to ends[i]."""
    counts = np.maximum(ends - starts, 0)
    total = np.cumsum(counts)
    cuts = np.searchsorted(total, np.arange(0, total[-1] if len(total) else 0, _CHUNK))
    for first, last in pairwise([*cuts, len(counts)]):
        part = counts[first:last]
        left = np.repeat(np.arange(first, last), part)
        before = np.cumsum(part) - part
        yield left, np.arange(len(left)) + np.repeat(starts[first:last] - before, part)
