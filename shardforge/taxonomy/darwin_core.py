"""Darwin Core checklists and EOL's tables: taxa with parents, ranks and accepted names, and vernacular names.

Columns go by the Darwin Core terms (https://dwc.tdwg.org/terms/), as in the GBIF backbone (`Taxon.tsv`,
`VernacularName.tsv`), the Catalogue of Life, the iNaturalist taxonomy and the EOL Dynamic Hierarchy (`taxon.tab`, with
`eolID` for the page); EOL's `vernacularnames.csv` has its own (`page_id`, `canonical_form`, `vernacular_string`,
`language_code`, `is_preferred_by_resource`, `is_preferred_by_eol`).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.errors import SourceError
from shardforge.records import RANKS
from shardforge.taxonomy.checklist import NO_VERNACULARS, RawNames, one_chunk
from shardforge.taxonomy.delimited import open_parts, read_columns
from shardforge.taxonomy.hierarchy import rank_codes, walk_ranks
from shardforge.taxonomy.vernaculars import is_flagged

_PART = re.compile(r"(taxon|taxa|.*hierarchy.*|vernacular_?names?([-_]\w+)?)\.(tab|tsv|csv|txt)(\.gz)?", re.IGNORECASE)

#: Column -> its names; `name` and `preferred` are of vernacular names.
_COLUMNS = {
    "taxon_id": ("taxonid",),
    "row_id": ("id", "coreid"),
    "page_id": ("eolid", "page_id"),
    "parent": ("parentnameusageid",),
    "accepted": ("acceptednameusageid",),
    "canonical": ("canonicalname", "canonical_form"),
    "scientific": ("scientificname",),
    "rank": ("taxonrank",),
    "status": ("taxonomicstatus",),
    "generic": ("genericname", "genus"),
    "epithet": ("specificepithet",),
    **{rank: (rank,) for rank in RANKS},
    "name": ("vernacular_string", "vernacularname"),
    "language": ("language_code", "language"),
    "preferred": ("is_preferred_by_eol", "ispreferredname"),
    "preferred_there": ("is_preferred_by_resource",),
}
_IDS = ("page_id", "row_id", "taxon_id")
#: What says that a row without an accepted name is no accepted name itself.
_NOT_ACCEPTED = "synonym|not accepted|unaccepted|misapplied|invalid"
#: Preferred by EOL or as Darwin Core says it; by the resource that EOL had it from; by nobody.
_PREFERENCES = ("preferred", "preferred_there")
_LONGEST_CHAIN = 10


def is_darwin_core_part(name: str) -> bool:
    """Whether a file in a folder or an archive is a table of taxa or of vernacular names."""
    return _PART.fullmatch(name) is not None


def read_darwin_core(path: Path) -> RawNames:
    """Return what a file, folder or archive of Darwin Core or EOL tables says.

    Vernacular names are those of the taxa by page, id or taxonID; where there is no table of taxa, or it lacks the
    page, by their own `canonical_form`, and nothing is known of the ranks.

    Raises:
        UsageError: nothing is there.
        SourceError: a table cannot be read, or lacks the columns.
    """
    taxa: list[pa.Table] = []
    vernaculars: list[pa.Table] = []
    for part in open_parts(path, is_darwin_core_part):
        table = read_columns(part, _COLUMNS).combine_chunks()
        (vernaculars if "name" in table.column_names else taxa).append(table)
    if len(taxa) > 1:
        raise SourceError(f"{path}: has more than one table of taxa; name the file itself")
    table = taxa[0] if taxa else pa.table({})
    accepted = _find_accepted(table)
    parts = [_describe_vernaculars(path, table, accepted, names) for names in vernaculars]
    return _merge(_name_taxa(table, accepted), _rank_taxa(path, table), parts)


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        return pa.nulls(table.num_rows, pa.string())
    return one_chunk(table[name])


def _rows_of(values: pa.Array, ids: pa.Array) -> np.ndarray:
    """Return the row in `ids` for each value, -1 for none."""
    return np.asarray(pc.index_in(values, ids, skip_nulls=True).fill_null(-1))


def _ids(table: pa.Table) -> pa.Array:
    return _column(table, "taxon_id" if "taxon_id" in table.column_names else "row_id")


def _find_accepted(table: pa.Table) -> np.ndarray:
    """Return the row of the accepted taxon for each row: its own, that of another, -1 where the table has none."""
    ids, accepted = _ids(table), _column(table, "accepted")
    own = np.arange(table.num_rows)
    elsewhere = np.asarray(pc.not_equal(accepted, ids).fill_null(False))
    rows = np.where(elsewhere, _rows_of(accepted, ids), own)
    rejected = pc.match_substring_regex(_column(table, "status"), _NOT_ACCEPTED, ignore_case=True).fill_null(False)
    rows[np.asarray(rejected) & ~elsewhere] = -1
    for _ in range(_LONGEST_CHAIN):  # a synonym of a synonym
        following = np.where(rows == -1, -1, rows[rows])
        if np.array_equal(following, rows):
            break
        rows = following
    return rows


def _rank_taxa(path: Path, table: pa.Table) -> dict[str, pa.Array]:
    """Return the ranks of every row: from its ancestors, else from the table's own columns of ranks."""
    parents = _rows_of(_column(table, "parent"), _ids(table))
    names = pc.coalesce(_column(table, "canonical"), _column(table, "scientific"))
    walked = walk_ranks(path, names, parents, rank_codes(_column(table, "rank")))
    ranks = {rank: pc.coalesce(walked[rank], _column(table, rank)) for rank in RANKS}
    binomial = pc.binary_join_element_wise(_column(table, "generic"), _column(table, "epithet"), " ")
    return ranks | {"species": pc.coalesce(ranks["species"], binomial)}


def _name_taxa(table: pa.Table, accepted: np.ndarray) -> pa.Table:
    names = pc.coalesce(_column(table, "canonical"), _column(table, "scientific"))
    synonym = accepted != np.arange(len(accepted))
    columns = {"name": names, "taxon": pa.array(accepted, pa.int32()), "synonym": pa.array(synonym)}
    return pa.table(columns).filter(pa.array(accepted != -1))


def _describe_vernaculars(path: Path, taxa: pa.Table, accepted: np.ndarray, table: pa.Table) -> pa.Table:
    """Return `taxon` (-1: not in the table of taxa), `page`, `canonical`, `name`, `language` and `preference`."""
    id_name = next((name for name in _IDS if name in table.column_names and name in taxa.column_names), None)
    if id_name is None and "canonical" not in table.column_names:
        raise SourceError(
            f"{path}: vernacular names by id alone; name the folder or archive that has the table of taxa, too"
        )
    page = _column(table, id_name or next((name for name in _IDS if name in table.column_names), "canonical"))
    rows = _rows_of(page, _column(taxa, id_name)) if id_name else np.full(table.num_rows, -1)
    preference = np.full(table.num_rows, len(_PREFERENCES), np.int8)
    for value, name in reversed(list(enumerate(_PREFERENCES))):
        preference[is_flagged(_column(table, name))] = value
    known = np.append(accepted, -1)  # row -1 stays -1
    return pa.table(
        {
            "taxon": pa.array(known[rows], pa.int32()),
            "page": page,
            "canonical": _column(table, "canonical"),
            "name": _column(table, "name"),
            "language": _column(table, "language"),
            "preference": preference,
        }
    )


def _merge(names: pa.Table, ranks: dict[str, pa.Array], vernaculars: list[pa.Table]) -> RawNames:
    """Add to the taxa of the table those that only vernacular names have: one for each page, without ranks."""
    taxa = len(ranks["species"])
    kept = []
    for table in vernaculars:
        known = pc.not_equal(table["taxon"], -1)
        others = table.filter(pc.and_(pc.invert(known), pc.is_valid(table["canonical"])))
        pages = one_chunk(others["page"]).dictionary_encode()
        first = np.unique(np.asarray(pages.indices), return_index=True)[1]
        added = pa.array(np.asarray(pages.indices) + taxa, pa.int32())
        others = others.set_column(0, "taxon", added)
        new = pa.table({"name": others["canonical"], "taxon": added, "synonym": pa.repeat(False, len(added))})
        names = pa.concat_tables([names, new.take(pa.array(first))])
        taxa += len(pages.dictionary)
        kept += [table.filter(known), others]
    ranks = {rank: pa.concat_arrays([held, pa.nulls(taxa - len(held), pa.string())]) for rank, held in ranks.items()}
    columns = ["taxon", "name", "language", "preference"]
    return RawNames(ranks, taxa, names, pa.concat_tables([table.select(columns) for table in kept] or [NO_VERNACULARS]))
