"""Tables of EOL's pages: which taxon a page id stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.errors import SourceError
from shardforge.records import RANKS
from shardforge.sources.columns import find_column
from shardforge.sources.keyed import KeyedTable, read_numbers
from shardforge.sources.ranks import lowest_rank, normalise_ranks
from shardforge.sources.table_file import read_names, read_text
from shardforge.taxonomy.hierarchy import rank_codes, walk_ranks
from shardforge.taxonomy.normalise import normalise_names

#: What is read of a table -> its names in taxon.tab of the Dynamic Hierarchy, pages.csv of TraitBank, provider_ids.csv,
#: vernacularnames.csv and the catalogue of TreeOfLife-10M.
_ALIASES: dict[str, tuple[str, ...]] = {
    "page": ("eolid", "page_id", "eol_page_id"),
    "name": (
        *("canonicalname", "preferred_canonical_for_page", "canonical", "canonical_form"),
        *("scientificname", "scientific_name"),
    ),
    "parent": ("parentnameusageid", "parent_id"),
    "id": ("taxonid", "page_id"),
    "rank": ("taxonrank", "rank"),
    **{rank: (rank,) for rank in RANKS},
    "common_name": ("common", "common_name"),
}
_KNOWN = ("label", *RANKS, "common_name")


def read_pages(files: Sequence[Path]) -> KeyedTable:
    """Return label, ranks and common name of each page; the first table that names a page counts.

    A table with a parent for each row gives all ranks above, one with columns of ranks those; from a name alone follow
    a species and its genus where it has two words, and no rank where it has one.

    Raises:
        SourceError: a file is no table of pages, or its parents form a circle.
    """
    schema = pa.schema({"page": pa.int64(), **dict.fromkeys(_KNOWN, pa.string())})
    tables = [_read_table(file).select(schema.names).cast(schema) for file in files]
    table = pa.concat_tables([*tables, schema.empty_table()])
    return KeyedTable(table["page"], table.drop(["page"]))


def _read_table(file: Path) -> pa.Table:
    header = read_names(file)
    columns = {target: find_column(header, aliases) for target, aliases in _ALIASES.items()}
    there = {target: name for target, name in columns.items() if name is not None}
    if "page" not in there or not there.keys() & {"name", *RANKS}:
        raise SourceError(
            f"{file}: no columns of page ids and names; expected a table of EOL such as taxon.tab, pages.csv or "
            f"provider_ids.csv, found {', '.join(header)}"
        )
    wanted = list(dict.fromkeys(there.values()))
    table = pa.concat_tables(list(read_text(file, wanted))).combine_chunks()
    table = pa.table({target: table[name] for target, name in there.items()})
    table = table.set_column(table.column_names.index("page"), "page", read_numbers(table["page"]))
    return _follow_parents(file, table) if {"parent", "id", "rank", "name"} <= there.keys() else _read_flat(table)


def _read_flat(table: pa.Table) -> pa.Table:
    """Return the named pages of a table that has a row for each name."""
    named = [column for column in table.column_names if column in ("name", *RANKS)]
    some = pc.coalesce(*(table[column] for column in named))
    table = table.filter(pc.and_(pc.is_valid(table["page"]), pc.is_valid(some))).combine_chunks()
    columns = {column: table[column].combine_chunks() for column in table.column_names}
    name = normalise_names(columns["name"]) if "name" in columns else pa.nulls(len(table), pa.string())
    return _make_pages(columns["page"], name, columns, columns.get("common_name"))


def _follow_parents(file: Path, table: pa.Table) -> pa.Table:
    """Return the pages of a table that has a row for each taxon, with the ranks of all that stand above."""
    ids, names = table["id"].combine_chunks(), table["name"].combine_chunks()
    parents = np.asarray(pc.index_in(table["parent"].combine_chunks(), ids, skip_nulls=True).fill_null(-1))
    ranks = walk_ranks(file, names, parents, rank_codes(table["rank"].combine_chunks()))
    known = table["page"].combine_chunks().is_valid()
    columns = {rank: values.filter(known) for rank, values in ranks.items()}
    pages = table["page"].combine_chunks().filter(known)
    return _make_pages(pages, normalise_names(names.filter(known)), columns, None)


def _make_pages(pages: pa.Array, name: pa.Array, columns: Mapping[str, pa.Array], common: pa.Array | None) -> pa.Table:
    """Return pages with label and ranks; a name of two words is that of the species where no rank says more."""
    given = {rank: columns[rank] for rank in RANKS if rank in columns}
    if "species" not in given and not given:
        given["species"] = pc.if_else(pc.match_substring(name, " "), name, None)
    ranks = normalise_ranks(given, len(pages))
    label = pc.coalesce(name, lowest_rank(ranks))
    return pa.table(
        {"page": pages, "label": label, **ranks, "common_name": common or pa.nulls(len(pages), pa.string())}
    )
