"""From what a source knows of a taxon to its seven ranks and its common name, by the user's checklists in order.

The name of a record is that at its lowest rank, else its label where labels are names. The first checklist that knows
the name decides. When none does, the names above it are tried from the lowest up, and the first that is known gives the
ranks from there on. Nothing is guessed: what is ambiguous, contradicted or unknown stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.records import RANKS
from shardforge.taxonomy.checklist import Checklist, Keys
from shardforge.taxonomy.kingdoms import normalise_kingdoms
from shardforge.taxonomy.matching import TELLING_RANKS
from shardforge.taxonomy.normalise import normalise_names
from shardforge.taxonomy.search import AskedChecklist, Ranks, Search, Status
from shardforge.taxonomy.taxon import full_species, genera_alone

_NO_TEXT = pa.scalar(None, pa.string())

#: In normal form: a species with one further epithet, and a species after its genus; open names have a full stop.
_TRINOMIAL = "^([^ .×]+ [^ .×]+) [^ .×]+$"
_GENUS = "^((?:× )?[^ .×]+) .*$"


@dataclass(frozen=True)
class Resolved:
    """What was found, one row for each that was asked.

    Attributes:
        ranks: The seven ranks; as they were given where nothing was found.
        common_name: The common name that the checklists have; null for none.
        name: The name that was looked up, in normal form; null for none.
        status: A `shardforge.taxonomy.search.Status` for each row.
    """

    ranks: dict[str, pa.Array]
    common_name: pa.Array
    name: pa.Array
    status: np.ndarray


class NameResolver:
    """Checklists in the order in which they are asked, and the language of common names (its two-letter code).

    Attributes:
        knows_ranks: Whether any checklist says more of a taxon than its name.
    """

    def __init__(self, checklists: Sequence[Checklist], language: str) -> None:
        self._checklists = [AskedChecklist(checklist, language) for checklist in checklists]
        self.knows_ranks = any(bool(checklist.ranked.any()) for checklist in self._checklists)

    def resolve(self, given: Ranks, labels: pa.Array | None = None) -> Resolved:
        """Return what the checklists know of taxa.

        Args:
            given: For each of RANKS a column of names as a source writes them, null for unknown.
            labels: Names for those rows that have none at any rank.
        """
        known = _normalise(given)
        name = pc.coalesce(*(known[rank] for rank in reversed(RANKS)))
        if labels is not None:
            name = pc.coalesce(name, normalise_names(labels))
        keys = Keys.of(name)
        search = Search(self._checklists, known)
        search.ask(name, keys)
        rows = search.unknown()
        at = pa.array(rows)
        own = name.take(at)
        for rank, above in _names_above({rank: known[rank].take(at) for rank in RANKS}):
            search.ask_above(rows, pc.if_else(pc.not_equal(above, own), above, _NO_TEXT), rank)
        status = np.where(np.asarray(name.is_valid()), search.status, np.int8(Status.UNNAMED))
        ranks, normal = search.fill(given)
        common = self._find_common(name, keys, normal, status)
        return Resolved(_clear_misplaced(ranks, name, status), common, name, status)

    def _find_common(self, name: pa.Array, keys: Keys, known: Ranks, status: np.ndarray) -> pa.Array:
        """Return the first common name that a checklist has, for the name as it was given or as it is now."""
        now = pc.coalesce(*(known[rank] for rank in reversed(RANKS)), name)
        renamed = np.flatnonzero(np.asarray(pc.not_equal(now, name).fill_null(False)))
        new_keys = Keys.of(now.take(pa.array(renamed)))
        place = pc.index_in(pa.array(np.arange(len(name))), pa.array(renamed))
        new_known = {rank: known[rank].take(pa.array(renamed)) for rank in TELLING_RANKS}
        common = pa.nulls(len(name), pa.string())
        for checklist in self._checklists:
            common = pc.coalesce(common, checklist.match_common(keys, known))
            of_renamed = checklist.match_common(new_keys, new_known)
            common = pc.coalesce(common, of_renamed.take(place))
        told_apart = pa.array((status != Status.AMBIGUOUS) & (status != Status.CONTRADICTED))
        return pc.if_else(told_apart, common, _NO_TEXT)


def _normalise(given: Ranks) -> dict[str, pa.Array]:
    known = {rank: normalise_names(given[rank]) for rank in RANKS[:-1]}
    known["kingdom"] = normalise_kingdoms(known["kingdom"])
    known["species"] = full_species(known["genus"], given["species"])
    known["genus"] = pc.coalesce(known["genus"], genera_alone(given["species"]))
    return known


def _names_above(known: Ranks) -> Iterator[tuple[int, pa.Array]]:
    """Yield the place of a rank and the names there, from the species of a subspecies up to the phylum."""
    species = known["species"]
    yield RANKS.index("species"), _extract(species, _TRINOMIAL)
    without = pc.if_else(pc.is_null(known["genus"]), species, _NO_TEXT)
    yield RANKS.index("genus"), pc.coalesce(known["genus"], _extract(without, _GENUS))
    for rank in ("family", "order", "class", "phylum"):
        yield RANKS.index(rank), known[rank]


def _extract(names: pa.Array, pattern: str) -> pa.Array:
    """Return what the pattern's group holds, null where it does not match."""
    matched = pc.match_substring_regex(names, pattern)
    return pc.if_else(matched, pc.replace_substring_regex(names, pattern, r"\1"), _NO_TEXT)


def _clear_misplaced(ranks: dict[str, pa.Array], name: pa.Array, status: np.ndarray) -> dict[str, pa.Array]:
    """Return the ranks without a species of one word that was found to be the name of a higher rank."""
    resolved = pa.array((status == Status.RESOLVED) | (status == Status.SYNONYM))
    higher = pc.or_kleene(*(pc.equal(ranks[rank], name) for rank in RANKS[-3:-1]))
    misplaced = pc.and_(
        resolved, pc.fill_null(pc.and_(pc.invert(pc.match_substring(ranks["species"], " ")), higher), False)
    )
    return ranks | {"species": pc.if_else(misplaced, _NO_TEXT, ranks["species"])}
