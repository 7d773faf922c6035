"""A table of one's own: CSV, TSV or Parquet with columns of ranks, a scientific name, a common name, a language."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.errors import SourceError
from shardforge.records import RANKS
from shardforge.taxonomy.checklist import NO_VERNACULARS, RawNames
from shardforge.taxonomy.delimited import open_parts, read_columns
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
    """Return what a table says: each row is a taxon.

    A scientific name that is not the name at the row's lowest rank is a synonym of that one, or a part of it when it
    begins with it (a subspecies). The names above the lowest rank are taxa, too.

    Raises:
        UsageError: nothing is there.
        SourceError: it is no table, or has neither ranks nor scientific names.
    """
    tables = [_read(name, stream) for name, stream in open_parts(path, is_table_part)]
    table = pa.concat_tables(tables).combine_chunks()
    ranks = _normal_ranks(table)
    lowest = pc.coalesce(*(ranks[rank] for rank in reversed(RANKS)))
    name = pc.coalesce(normalise_names(table["name"]), lowest)
    own = pa.table(
        {
            "name": name,
            "taxon": pa.array(np.arange(table.num_rows, dtype=np.int32)),
            "synonym": _is_synonym(name, lowest),
        }
    )
    taxa, names = _add_higher(ranks, own)
    return RawNames(taxa, len(taxa["kingdom"]), names, _vernaculars(table))


def _read(name: str, stream: IO[bytes]) -> pa.Table:
    """Return a table with all of `_COLUMNS`, null where it has none."""
    table = read_columns(name, stream, _COLUMNS)
    if not {"name", *RANKS} & set(table.column_names):
        raise SourceError(f"{name}: has neither a scientific name nor a rank; expected a column such as name or genus")
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


def _add_higher(ranks: dict[str, pa.Array], names: pa.Table) -> tuple[dict[str, pa.Array], pa.Table]:
    """Return the taxa with each name above a lowest rank as a taxon of its own, and all names."""
    rows = pa.table(ranks)
    taxa, count = [rows], rows.num_rows
    named = [names]
    for depth in range(1, len(RANKS)):
        higher = rows.select(list(RANKS[:depth])).group_by(list(RANKS[:depth])).aggregate([])
        higher = higher.filter(pc.is_valid(higher[RANKS[depth - 1]]))
        taxa.append(higher)
        numbers = pa.array(np.arange(count, count + higher.num_rows, dtype=np.int32))
        synonym = pa.repeat(False, higher.num_rows)
        named.append(pa.table({"name": higher[RANKS[depth - 1]], "taxon": numbers, "synonym": synonym}))
        count += higher.num_rows
    all_taxa = pa.concat_tables(taxa, promote_options="default").combine_chunks()
    return {rank: all_taxa[rank].combine_chunks() for rank in RANKS}, pa.concat_tables(named)


def _vernaculars(table: pa.Table) -> pa.Table:
    preferred = is_flagged(table["preferred"].combine_chunks())
    columns = {
        "taxon": pa.array(np.arange(table.num_rows, dtype=np.int32)),
        "name": table["common"],
        "language": table["language"],
        "preference": np.where(preferred, np.int8(0), np.int8(1)),
    }
    return pa.table(columns, schema=NO_VERNACULARS.schema)
