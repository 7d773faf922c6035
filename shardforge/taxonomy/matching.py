"""Which taxon of a checklist a name stands for, where ranks that are known tell homonyms apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pyarrow as pa

from shardforge.taxonomy.checklist import Checklist, Keys

#: Ranks that tell homonyms apart, highest first; the genus cannot, it is part of the name.
TELLING_RANKS = ("kingdom", "phylum", "class", "order", "family")


class Match(IntEnum):
    """What a checklist knows of a name."""

    UNKNOWN = 0
    ACCEPTED = 1
    SYNONYM = 2
    AMBIGUOUS = 3
    CONTRADICTED = 4


@dataclass(frozen=True)
class _Pairs:
    """Candidates: the query, the taxon, whether by a synonym, and at which of TELLING_RANKS both sides agree."""

    query: np.ndarray
    taxon: np.ndarray
    synonym: np.ndarray
    same: np.ndarray

    def keep(self, rows: np.ndarray) -> _Pairs:
        return _Pairs(self.query[rows], self.taxon[rows], self.synonym[rows], self.same[:, rows])

    def prefer(self, rows: np.ndarray, queries: int) -> _Pairs:
        """Keep the pairs marked in `rows`, and all pairs of a query that has none of those."""
        some = np.bincount(self.query[rows], minlength=queries) > 0
        return self.keep(rows | ~some[self.query])


def match_names(
    checklist: Checklist, keys: Keys, ranks: Mapping[str, pa.Array], usable: np.ndarray, told: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each key a taxon (-1 for none) and a `Match`.

    A taxon of another kingdom is no candidate; where a kingdom is not known, neither is one that disagrees at every
    rank that both sides know. Of several candidates those stay that agree at the lowest rank at which any agrees, then
    those of accepted names. When what is left says different things, the name is ambiguous.

    Args:
        checklist: Where to look.
        keys: The names.
        ranks: The names in normal form at TELLING_RANKS that are known with each key.
        usable: Whether a taxon may be the answer, for each taxon.
        told: What the answer will be used for: codes for each taxon, -1 for nothing, that must not differ.
    """
    count = len(keys)
    pairs, known, fits = _find_pairs(checklist, keys, ranks, usable)
    matches = np.where(known, np.int8(Match.CONTRADICTED), np.int8(Match.UNKNOWN))
    pairs = pairs.keep(fits)
    for agrees in reversed(range(len(TELLING_RANKS))):
        pairs = pairs.prefer(pairs.same[agrees], count)
    pairs = pairs.prefer(~pairs.synonym, count)
    taxa = np.full(count, -1, np.int64)
    if len(pairs.query) == 0:
        return taxa, matches
    starts = np.flatnonzero(np.diff(pairs.query, prepend=-1))
    queries = pairs.query[starts]
    best = _most_complete(pairs, starts, told)
    agreed = np.logical_and.reduce([_agree(codes[pairs.taxon], starts) for codes in told])
    matches[queries] = np.where(pairs.synonym[best], Match.SYNONYM, Match.ACCEPTED)
    matches[queries[~agreed]] = Match.AMBIGUOUS
    taxa[queries[agreed]] = pairs.taxon[best[agreed]]
    return taxa, matches


def _find_pairs(
    checklist: Checklist, keys: Keys, ranks: Mapping[str, pa.Array], usable: np.ndarray
) -> tuple[_Pairs, np.ndarray, np.ndarray]:
    """Return all candidates, whether each key has any, and whether each candidate fits what is known."""
    queries, rows = checklist.candidates(keys)
    taxa = np.asarray(checklist.names["taxon"])[rows]
    kept = usable[taxa]
    queries, rows, taxa = queries[kept], rows[kept], taxa[kept]
    both = np.empty((len(TELLING_RANKS), len(queries)), bool)
    same = np.empty_like(both)
    for i, rank in enumerate(TELLING_RANKS):
        asked, held = checklist.encode(rank, ranks[rank])[queries], checklist.codes[rank][taxa]
        both[i] = (asked != -1) & (held != -1)
        same[i] = both[i] & (asked == held)
    fits = np.where(both[0], same[0], same.any(axis=0) | ~both.any(axis=0))
    pairs = _Pairs(queries, taxa, np.asarray(checklist.names["synonym"])[rows], same)
    return pairs, np.bincount(queries, minlength=len(keys)) > 0, fits


def _most_complete(pairs: _Pairs, starts: np.ndarray, told: Sequence[np.ndarray]) -> np.ndarray:
    """Return for each query the pair whose taxon says most, the first of equals."""
    says = sum((codes[pairs.taxon] != -1).astype(np.int64) for codes in told)
    order: np.ndarray = np.lexsort((-says, pairs.query))[starts]
    return order


def _agree(codes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return for each run of pairs whether no two of its codes differ, -1 aside."""
    highest = np.maximum.reduceat(codes, starts)
    lowest = np.minimum.reduceat(np.where(codes == -1, np.iinfo(codes.dtype).max, codes), starts)
    agree: np.ndarray = (highest == -1) | (highest == lowest)
    return agree
