"""Clusters of near duplicates in a mapping: pictures that look the same and have other bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shardforge import __version__
from shardforge.duplicates import DEFAULT_DISTANCE, MIN_QUALITY
from shardforge.duplicates.bands import WORDS, Hashes
from shardforge.duplicates.search import Indices, link_hashes, list_pairs
from shardforge.duplicates.store import read_hashes
from shardforge.mapping import Mapping

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Clusters:
    """The contents that were compared, in order, and their distinct hashes.

    Attributes:
        contents: content hashes, ascending.
        hash_of: index of each content's hash in `hashes`.
        hashes: the distinct perceptual hashes.
        roots: the smallest index in `hashes` of each hash's cluster.
        distance: bits in which neighbours differ at most.
    """

    contents: pa.ChunkedArray
    hash_of: Indices
    hashes: Hashes
    roots: Indices
    distance: int

    def near_contents(self) -> tuple[Indices, Indices]:
        """Return the contents that have a near duplicate, each with the smallest content of its cluster."""
        cluster = self.roots[self.hash_of]
        _, first, place, size = np.unique(cluster, return_index=True, return_inverse=True, return_counts=True)
        several = size[place] > 1
        return np.flatnonzero(several), first[place][several]

    def pairs(self) -> Iterator[tuple[Indices, Indices, Indices]]:
        """Yield left content, right content and distance of near pairs.

        Contents with the same hash are each paired with the first of them, which stands for all in other pairs; of a
        very large cluster `list_pairs` lists only some.
        """
        _, first = np.unique(self.hash_of, return_index=True)
        later = np.setdiff1d(np.arange(len(self.hash_of)), first, assume_unique=True)
        yield first[self.hash_of[later]], later, np.zeros(len(later), np.int64)
        for left, right, distance in list_pairs(self.hashes, self.roots, self.distance):
            yield first[left], first[right], distance


def cluster_contents(
    mapping: Mapping,
    *,
    distance: int = DEFAULT_DISTANCE,
    min_quality: int = MIN_QUALITY,
    progress: Progress = lambda stage, done, total: None,
) -> Clusters:
    """Find the near duplicates among the hashed contents and store their clusters in place of those stored before.

    Raises:
        UsageError: the distance is out of range.
    """
    contents, hashes = read_hashes(mapping, min_quality)
    distinct, hash_of = distinct_hashes(hashes)
    clusters = Clusters(contents, hash_of, distinct, link_hashes(distinct, distance, progress=progress), distance)
    members, firsts = clusters.near_contents()
    with mapping.transaction():
        mapping.execute("DELETE FROM near_duplicates; DELETE FROM near_duplicate_searches;")
        rows = {"content_hash": contents.take(pa.array(members)), "cluster": contents.take(pa.array(firsts))}
        mapping.insert("near_duplicates", pa.table(rows).combine_chunks())
        mapping.execute(
            "INSERT INTO near_duplicate_searches VALUES ($distance, $min_quality, $searched_at, $tool)",
            distance=distance,
            min_quality=min_quality,
            searched_at=datetime.now(UTC).isoformat(timespec="seconds"),
            tool=__version__,
        )
    mapping.index("near_duplicates", "content_hash")
    return clusters


def distinct_hashes(hashes: Hashes) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Return the distinct hashes, and for each hash its index among them."""
    whole = np.ascontiguousarray(hashes).view([("", np.uint64)] * WORDS).ravel()
    distinct, index = np.unique(whole, return_inverse=True)
    return distinct.view(np.uint64).reshape(-1, WORDS), index
