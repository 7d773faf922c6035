"""A table of one's own: CSV, TSV or Parquet with columns of ranks, a scientific name, a common name, a language."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.errors import SourceError
from shardforge.records import RANKS
from shardforge.taxonomy.checklist import NO_VERNACULARS, RawNames
from shardforge.taxonomy.delimited import Part, open_parts, read_columns
from shardforge.taxonomy.normalise import normalise_names
from shardforge.taxonomy.taxon import full_species
from shardforge.taxonomy.vernaculars import is_flagged

#: Column -> its names.
_COLUMNS = {
    **{rank: (rank,) for rank in RANKS},
    "name": ("scientific_name", "scientificname", "name", "canonical_name", "canonicalname"),
    "common": ("common_name", "common", "vernacular_name", "vernacularname"),
    "language": ("language", "lang", "language_code"),
    "preferred": ("preferred", "is_preferred"),
}
_SUFFIXES = (".csv", ".tsv", ".tab", ".parquet")


def is_table_part(name: str) -> bool:
    """Whether a file in a folder or an archive is such a table."""
    return name.lower().removesuffix(".gz").endswith(_SUFFIXES)


def read_names_table(path: Path) -> RawNames:
    """Return what a table says: its rows are of one taxon where their ranks are the same.

    A scientific name that is not the name at the row's lowest rank is a synonym of that one; or, when it begins with it
    (a subspecies), a taxon of its own below it. All names at the ranks are taxa, too.

    Raises:
        UsageError: nothing is there.
        SourceError: it is no table, or has neither ranks nor scientific names.
    """
    tables = [_read(part) for part in open_parts(path, is_table_part)]
    table = pa.concat_tables(tables).combine_chunks()
    ranks = _normal_ranks(table)
    lowest = pc.coalesce(*(ranks[rank] for rank in reversed(RANKS)))
    name = pc.coalesce(normalise_names(table["name"]), lowest)
    synonym = _is_synonym(name, lowest)
    said = pc.or_(synonym, pc.equal(name, lowest).fill_null(False))
    below = pc.if_else(said, pa.scalar(None, pa.string()), name)
    rows = _add_above(pa.table({**ranks, "below": below, "name": name, "synonym": synonym}))
    taxon, first = _number_taxa(rows)
    taxa = {rank: rows[rank].take(first).combine_chunks() for rank in RANKS}
    names = pa.table({"name": rows["name"], "taxon": taxon, "synonym": rows["synonym"]})
    return RawNames(taxa, len(first), names, _vernaculars(table, taxon.slice(0, table.num_rows)))


def _read(part: Part) -> pa.Table:
    """Return a table with all of `_COLUMNS`, null where it has none."""
    table = read_columns(part, _COLUMNS)
    if not {"name", *RANKS} & set(table.column_names):
        raise SourceError(
            f"{part.place}: has neither a scientific name nor a rank; expected a column such as name or genus"
        )
    for column in _COLUMNS:
        if column not in table.column_names:
            table = table.append_column(column, pa.nulls(table.num_rows, pa.string()))
    return table.select(list(_COLUMNS))


def _normal_ranks(table: pa.Table) -> dict[str, pa.Array]:
    ranks = {rank: normalise_names(table[rank]) for rank in RANKS[:-1]}
    return ranks | {"species": full_species(ranks["genus"], table["species"].combine_chunks())}


def _is_synonym(names: pa.Array, lowest: pa.Array) -> pa.Array:
    """Return whether each name is another one than that at the lowest rank, and no part of it."""
    differs = np.asarray(pc.not_equal(names, lowest).fill_null(False))
    rows = pa.array(np.flatnonzero(differs))
    pairs = zip(names.take(rows).to_pylist(), lowest.take(rows).to_pylist(), strict=True)
    differs[differs] = [not name.startswith(f"{accepted} ") for name, accepted in pairs]
    return pa.array(differs)


def _add_above(rows: pa.Table) -> pa.Table:
    """Return the rows, and one for each name at a rank that stands in a row of another name."""
    added = [rows]
    own = rows["name"].filter(pc.invert(rows["synonym"]))
    for depth, rank in enumerate(RANKS, 1):
        lacking = pc.not_equal(rows[rank], rows["name"])
        if rank == "species":  # one with a row of its own has its common name there, not in those of its synonyms
            lacking = pc.and_not(lacking, pc.is_in(rows[rank], own))
        above = rows.filter(lacking).group_by(list(RANKS[:depth])).aggregate([])
        above = above.append_column("name", above[rank])
        added.append(above.append_column("synonym", pa.repeat(False, above.num_rows)))
    return pa.concat_tables(added, promote_options="default").combine_chunks()


def _number_taxa(rows: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return the taxon of each row, and the first row of each taxon."""
    told = [rows[column].combine_chunks().fill_null("") for column in (*RANKS, "below")]
    taxa = pc.binary_join_element_wise(*told, "\t").dictionary_encode().indices  # no name in normal form has a tab
    return taxa, pa.array(np.unique(np.asarray(taxa), return_index=True)[1])


def _vernaculars(table: pa.Table, taxon: pa.Array) -> pa.Table:
    preferred = is_flagged(table["preferred"].combine_chunks())
    columns = {
        "taxon": taxon,
        "name": table["common"],
        "language": table["language"],
        "preference": np.where(preferred, np.int8(0), np.int8(1)),
    }
    return pa.table(columns, schema=NO_VERNACULARS.schema)
