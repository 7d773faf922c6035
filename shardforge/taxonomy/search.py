"""One look-up of many names in several checklists: what each is asked, and what was found so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.records import RANKS
from shardforge.taxonomy.checklist import Checklist, Keys, one_chunk
from shardforge.taxonomy.matching import TELLING_RANKS, Match, match_names

#: Rank -> the normal form of each row's name there, null for unknown.
Ranks = Mapping[str, pa.Array]

_NONE = -1
_FAMILY, _SPECIES = RANKS.index("family"), RANKS.index("species")


class Status(IntEnum):
    """What became of a record's name."""

    RESOLVED = 0
    SYNONYM = 1
    PLACED = 2
    AMBIGUOUS = 3
    CONTRADICTED = 4
    UNKNOWN = 5
    UNNAMED = 6


#: Status -> what it says, for reports.
MEANING: dict[Status, str] = {
    Status.RESOLVED: "accepted; ranks filled in",
    Status.SYNONYM: "accepted name and ranks filled in",
    Status.PLACED: "ranks from a name above it",
    Status.AMBIGUOUS: "of several taxa; left as it is",
    Status.CONTRADICTED: "ruled out by its ranks; left",
    Status.UNKNOWN: "in no file; left as it is",
    Status.UNNAMED: "has no name",
}

_STATUS = np.empty(len(Match), np.int8)
_STATUS[[Match.UNKNOWN, Match.ACCEPTED, Match.SYNONYM, Match.AMBIGUOUS, Match.CONTRADICTED]] = [
    *(Status.UNKNOWN, Status.RESOLVED, Status.SYNONYM, Status.AMBIGUOUS, Status.CONTRADICTED)
]


class AskedChecklist:
    """A checklist and what of it can be an answer: ranks, and common names in one language.

    Attributes:
        ranked: Whether a taxon has ranks besides its own name.
    """

    def __init__(self, checklist: Checklist, language: str) -> None:
        self._checklist = checklist
        self._told = list(checklist.codes.values())
        self._common, self._common_codes = checklist.common_names(language)
        known = sum((codes != _NONE).astype(np.int8) for codes in self._told)
        self.ranked: np.ndarray = (known > 1) | (checklist.codes["kingdom"] != _NONE)

    def match_ranks(self, keys: Keys, known: Ranks) -> tuple[np.ndarray, np.ndarray]:
        """Return the taxon for each key, -1 for none, and a `Match`."""
        return match_names(self._checklist, keys, known, self.ranked, self._told)

    def ranks_of(self, taxa: pa.Array) -> dict[str, pa.Array]:
        """Return the seven ranks of taxa, null for null."""
        return {rank: one_chunk(self._checklist.taxa[rank]).take(taxa).cast(pa.string()) for rank in RANKS}

    def match_common(self, keys: Keys, known: Ranks) -> pa.Array:
        """Return the common name for each key, null where there is none or several taxa have different ones."""
        if not (self._common != _NONE).any():
            return pa.nulls(len(keys), pa.string())
        taxa, _ = match_names(self._checklist, keys, known, self._common_codes != _NONE, [self._common_codes])
        rows = np.append(self._common, _NONE)[taxa]
        return one_chunk(self._checklist.vernaculars["name"]).take(pa.array(rows, mask=rows == _NONE))


class Search:
    """Rows whose taxa are looked for; each keeps the first answer.

    Attributes:
        status: A `Status` for each row.
    """

    def __init__(self, checklists: Sequence[AskedChecklist], known: Ranks) -> None:
        count = len(known["species"])
        self._checklists = checklists
        self._known = known
        self._checklist = np.full(count, _NONE, np.int8)
        self._taxon = np.full(count, _NONE, np.int64)
        self._depth = np.full(count, _NONE, np.int8)
        self.status = np.full(count, Status.UNKNOWN, np.int8)

    def ask(self, names: pa.Array, keys: Keys) -> None:
        """Look for the rows' own names, of which `keys` are the keys."""
        rows = np.flatnonzero(np.asarray(names.is_valid()))
        matches = self._match(names.take(pa.array(rows)), keys.take(rows), rows)
        self.status[rows] = _STATUS[matches]
        self._depth[rows] = _SPECIES

    def unknown(self) -> np.ndarray:
        """Return the rows of which nothing is known so far."""
        return np.flatnonzero(self.status == Status.UNKNOWN)

    def ask_above(self, rows: np.ndarray, names: pa.Array, rank: int) -> None:
        """Look for names above the rows' own, at `RANKS[rank]`, where nothing is known of those so far."""
        wanted = np.flatnonzero((self.status[rows] == Status.UNKNOWN) & np.asarray(names.is_valid()))
        rows, names = rows[wanted], names.take(pa.array(wanted))
        matches = self._match(names, Keys.of(names), rows)
        found = (matches == Match.ACCEPTED) | (matches == Match.SYNONYM)
        self.status[rows[found]] = Status.PLACED
        # What stands below an old name has a part of it: of the accepted one, only what is above the genus would fit.
        self._depth[rows] = np.where(matches == Match.SYNONYM, min(rank - 1, _FAMILY), rank)

    def fill(self, given: Ranks) -> tuple[dict[str, pa.Array], dict[str, pa.Array]]:
        """Return the ranks, and their normal forms: what was found, else what is known beside it.

        Where nothing was found they are those of `given`.
        """
        rows = [pa.array(self._taxon, mask=self._checklist != i) for i in range(len(self._checklists))]
        parts = [checklist.ranks_of(taxa) for checklist, taxa in zip(self._checklists, rows, strict=True)]
        filled, normal = {}, {}
        for depth, rank in enumerate(RANKS):
            found = pc.coalesce(*(part[rank] for part in parts), self._known[rank])
            told = pa.array((self._checklist != _NONE) & (depth <= self._depth))
            filled[rank] = pc.if_else(told, found, given[rank])
            normal[rank] = pc.if_else(told, found, self._known[rank])
        return filled, normal

    def _match(self, names: pa.Array, keys: Keys, rows: np.ndarray) -> np.ndarray:
        """Ask the checklists in their order for the names of some rows; return a `Match` for each."""
        matches = np.full(len(rows), Match.UNKNOWN, np.int8)
        for i, checklist in enumerate(self._checklists):
            asked = np.flatnonzero((matches == Match.UNKNOWN) | (matches == Match.CONTRADICTED))
            if len(asked) == 0 or not checklist.ranked.any():
                continue
            known = self._known_beside(names.take(pa.array(asked)), rows[asked])
            taxa, answers = checklist.match_ranks(keys.take(asked), known)
            told = answers != Match.UNKNOWN
            matches[asked[told]] = answers[told]
            found = taxa != _NONE
            self._checklist[rows[asked[found]]] = i
            self._taxon[rows[asked[found]]] = taxa[found]
        return matches

    def _known_beside(self, names: pa.Array, rows: np.ndarray) -> dict[str, pa.Array]:
        """Return what is known at the telling ranks except the names asked for: synonyms differ there."""
        known = {rank: self._known[rank].take(pa.array(rows)) for rank in TELLING_RANKS}
        return {
            rank: pc.if_else(pc.equal(held, names).fill_null(False), pa.scalar(None, pa.string()), held)
            for rank, held in known.items()
        }
