"""A checklist: what one file of names says, laid out so that millions of names are looked up at once.

A checklist is three tables. `taxa` has the seven ranks of each taxon; `names` has the key of each name, its hash
(ascending) and its taxon, for a synonym the accepted one; `vernaculars` has one name for each taxon and language.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.records import RANKS
from shardforge.taxonomy.hashing import hash_strings
from shardforge.taxonomy.kingdoms import normalise_kingdoms
from shardforge.taxonomy.normalise import name_keys, normalise_names
from shardforge.taxonomy.vernaculars import select_vernaculars

#: The vernacular names of a file that has none.
NO_VERNACULARS = pa.schema(
    [("taxon", pa.int32()), ("name", pa.string()), ("language", pa.string()), ("preference", pa.int8())]
).empty_table()

_NULL = -1


@dataclass(frozen=True)
class RawNames:
    """What a reader found in a file, as the file writes it.

    Attributes:
        ranks: Rank -> the name that each taxon has there, all of one length (0 ranks: nothing is known of them).
        taxa: How many taxa there are.
        names: Scientific names: `name`, `taxon` (a row of `ranks`), `synonym` (whether the taxon is accepted under
            another name).
        vernaculars: Common names: `taxon`, `name`, `language` ("" when not said), `preference` (0 for the best).
    """

    ranks: dict[str, pa.Array]
    taxa: int
    names: pa.Table
    vernaculars: pa.Table


@dataclass(frozen=True)
class Keys:
    """Names to look for, as `name_keys` makes them, with their hashes; null for nothing to look for."""

    names: pa.Array
    hashes: np.ndarray

    @classmethod
    def of(cls, names: pa.Array) -> Keys:
        """Return the keys of names in normal form."""
        encoded = names.dictionary_encode()
        keys = name_keys(encoded.dictionary)
        places = np.asarray(encoded.indices.fill_null(len(keys)))
        return cls(keys.take(encoded.indices), np.append(hash_strings(keys), np.uint64(0))[places])

    def __len__(self) -> int:
        return len(self.hashes)

    def take(self, rows: np.ndarray) -> Keys:
        """Return the keys of these rows."""
        return Keys(self.names.take(pa.array(rows)), self.hashes[rows])


@dataclass(frozen=True)
class Checklist:
    """The three tables of a checklist; see the module."""

    taxa: pa.Table
    names: pa.Table
    vernaculars: pa.Table

    @cached_property
    def codes(self) -> dict[str, np.ndarray]:
        """Rank -> the place of each taxon's name in the dictionary of that column, -1 for none."""
        return {rank: np.asarray(one_chunk(self.taxa[rank]).indices.fill_null(_NULL)) for rank in RANKS}

    def encode(self, rank: str, names: pa.Array) -> np.ndarray:
        """Return the codes of other names at `rank`: -1 for none, -2 for one that no taxon of the checklist has."""
        found = pc.index_in(names, one_chunk(self.taxa[rank]).dictionary).fill_null(-2)
        return np.where(np.asarray(names.is_null()), _NULL, np.asarray(found))

    def candidates(self, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """Return pairs that belong together, ordered by the first: a row of `keys`, a row of `names`."""
        order = np.argsort(keys.hashes)  # binary searches side by side in memory are several times faster
        ordered = keys.hashes[order]
        known = np.asarray(one_chunk(self.names["hash"]))
        first, end = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
        first[order] = np.searchsorted(known, ordered, "left")
        end[order] = np.searchsorted(known, ordered, "right")
        counts = end - first
        queries = np.repeat(np.arange(len(keys)), counts)
        rows = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
        equal = pc.equal(one_chunk(self.names["key"]).take(pa.array(rows)), keys.names.take(pa.array(queries)))
        equal = np.asarray(equal.fill_null(False))
        return queries[equal], rows[equal]

    def languages(self) -> list[str]:
        """Return the codes of the languages of the common names, "" for not stated."""
        found: list[str] = pc.unique(self.vernaculars["language"]).dictionary_decode().to_pylist()
        return found

    def common_names(self, language: str) -> tuple[np.ndarray, np.ndarray]:
        """Return for each taxon the row of its common name, -1 for none, and a code that equal names share.

        Names in no stated language are taken where there is none in the one that is asked for.
        """
        rows = np.full(self.taxa.num_rows, _NULL, np.int64)
        languages = self.vernaculars["language"]
        for code in ("", language):
            told = np.flatnonzero(np.asarray(pc.equal(languages, code)))
            rows[np.asarray(self.vernaculars["taxon"])[told]] = told
        names = one_chunk(self.vernaculars["name"]).take(pa.array(rows, mask=rows == _NULL)).dictionary_encode()
        return rows, np.asarray(names.indices.fill_null(_NULL))


def make_checklist(raw: RawNames) -> Checklist:
    """Normalise and sort what a reader found."""
    taxa = _make_taxa(raw)
    return Checklist(taxa, _make_names(raw, taxa), select_vernaculars(raw.vernaculars))


def _make_taxa(raw: RawNames) -> pa.Table:
    columns = {}
    for rank in RANKS:
        names = raw.ranks.get(rank, pa.nulls(raw.taxa, pa.string()))
        normal = normalise_kingdoms(names) if rank == "kingdom" else normalise_names(names)
        columns[rank] = normal.dictionary_encode()
    return pa.table(columns)


def _make_names(raw: RawNames, taxa: pa.Table) -> pa.Table:
    names = raw.names.append_column("key", name_keys(normalise_names(raw.names["name"]))).drop_columns(["name"])
    names = pa.concat_tables([names, _kingdom_names(taxa)]).filter(pc.is_valid(pc.field("key")))
    names = names.append_column("hash", pa.array(hash_strings(one_chunk(names["key"]))))
    # Accepted names first, then in the order of the file: of equal candidates the first is taken.
    names = names.sort_by([("hash", "ascending"), ("synonym", "ascending"), ("taxon", "ascending")])
    return names.combine_chunks()


def _kingdom_names(taxa: pa.Table) -> pa.Table:
    """Return the names of kingdoms as they are kept, which are not those that the file has for them."""
    alone = np.asarray(pc.and_(pc.is_valid(taxa["kingdom"]), pc.is_null(taxa["phylum"])))
    for rank in RANKS[2:]:
        alone &= np.asarray(pc.is_null(taxa[rank]))
    rows = pa.array(np.flatnonzero(alone).astype(np.int32))
    names = taxa["kingdom"].take(rows).cast(pa.string())
    return pa.table({"taxon": rows, "synonym": pa.repeat(False, len(rows)), "key": name_keys(one_chunk(names))})


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, without copying it where it is one already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
