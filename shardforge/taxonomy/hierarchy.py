"""From a tree of taxa, each with its parent and rank, to the seven ranks of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.errors import SourceError
from shardforge.records import RANKS

#: Names of ranks that files use for one of the seven.
_SYNONYMS = {"division": "phylum"}
#: Ranks above the kingdom; of those, the names that stand for the kingdom where a file ranks no kingdom.
_DOMAINS = ("superkingdom", "domain", "realm", "acellular root")
_KINGDOM_LIKE = ("Archaea", "Bacteria", "Viruses")
_DOMAIN = len(RANKS)
_DEEPEST = 500


def rank_codes(ranks: pa.Array) -> np.ndarray:
    """Return the place of each rank in RANKS, its length for a domain, -1 for any other."""
    codes = {rank: i for i, rank in enumerate(RANKS)} | dict.fromkeys(_DOMAINS, _DOMAIN)
    codes |= {name: codes[rank] for name, rank in _SYNONYMS.items()}
    encoded = ranks.fill_null("").dictionary_encode()
    of_distinct = [codes.get(rank.strip().lower(), -1) for rank in encoded.dictionary.to_pylist()]
    of_each: np.ndarray = np.array(of_distinct, np.int8)[np.asarray(encoded.indices)]
    return of_each


def walk_ranks(file: Path, names: pa.Array, parents: np.ndarray, codes: np.ndarray) -> dict[str, pa.Array]:
    """Return, for each of the seven ranks, the name that each taxon has there: its own, or that of an ancestor.

    Args:
        file: Where they are from, for messages.
        names: The name of each taxon.
        parents: The row of its parent, -1 at the top.
        codes: Its rank, as `rank_codes` gives it.

    Raises:
        SourceError: parents form a circle.
    """
    rows = np.arange(len(parents))
    parents = np.where(parents == rows, -1, parents)
    holders = np.full((_DOMAIN + 1, len(parents)), -1, np.int32)
    places, ancestors = rows, rows
    for _ in range(_DEEPEST):
        ranked = codes[ancestors] >= 0
        found, of_rank = places[ranked], codes[ancestors[ranked]]
        empty = holders[of_rank, found] == -1
        holders[of_rank[empty], found[empty]] = ancestors[ranked][empty]
        above = parents[ancestors]
        places, ancestors = places[above != -1], above[above != -1]
        if len(places) == 0:
            break
    else:
        raise SourceError(f"{file}: the parents of {names[int(places[0])]} form a circle; expected a tree")
    columns = [names.take(pa.array(row, mask=row == -1)) for row in holders]
    domain = columns.pop()
    like_kingdom = pc.is_in(domain, pa.array(_KINGDOM_LIKE))
    columns[0] = pc.coalesce(columns[0], pc.if_else(like_kingdom, domain, pa.scalar(None, pa.string())))
    return dict(zip(RANKS, columns, strict=True))
