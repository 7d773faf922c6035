r"""The NCBI taxonomy dump (`names.dmp`, `nodes.dmp`), a folder or `taxdump.tar.gz`.

Fields end in `\t|\t`, rows in `\t|\n`: see `taxdump_readme.txt` beside the dump. Its common names have no language;
they are taken as English, as NCBI writes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.errors import SourceError
from shardforge.taxonomy.checklist import NO_VERNACULARS, RawNames
from shardforge.taxonomy.delimited import open_parts, read_dump
from shardforge.taxonomy.hierarchy import rank_codes, walk_ranks

#: File of the dump -> the fields that are read.
_FIELDS = {
    "nodes.dmp": ("tax_id", "parent_id", "rank"),
    "names.dmp": ("tax_id", "name", "unique_name", "name_class"),
}

#: Classes of names that stand for the whole taxon; `in-part` and `includes` do not.
_SYNONYMS = ("synonym", "equivalent name", "genbank synonym", "misspelling", "anamorph", "teleomorph")
#: Classes of common names, the preferred one first.
_COMMON = ("genbank common name", "common name")


def is_ncbi_part(name: str) -> bool:
    """Whether a file of a dump is one of the two that are read."""
    return name in _FIELDS


def read_ncbi(path: Path) -> RawNames:
    """Return what a taxonomy dump says.

    Raises:
        UsageError: nothing is there.
        SourceError: a file is missing or no such dump.
    """
    parts = open_parts(path, is_ncbi_part, declared=False)
    tables = {part.name: read_dump(part, _FIELDS[part.name]) for part in parts if part.name in _FIELDS}
    for name in _FIELDS:
        if name not in tables:
            raise SourceError(f"{path}: has no {name}; expected the folder or archive of a taxonomy dump")
    nodes, names = tables["nodes.dmp"], tables["names.dmp"]
    ids = nodes["tax_id"].combine_chunks()
    name_class = names["name_class"]
    rows = pc.index_in(names["tax_id"], ids)
    scientific = pc.equal(name_class, "scientific name")
    named = pa.table({"name": names["name"], "taxon": rows, "synonym": pc.invert(scientific)})
    parents = np.asarray(pc.index_in(nodes["parent_id"], ids).fill_null(-1))
    codes = rank_codes(nodes["rank"].combine_chunks())
    return RawNames(
        walk_ranks(path, _own_names(named.filter(scientific), len(ids)), parents, codes),
        len(ids),
        named.filter(pc.is_in(name_class, pa.array(["scientific name", *_SYNONYMS]))).drop_null(),
        _vernaculars(named, name_class),
    )


def _own_names(scientific: pa.Table, taxa: int) -> pa.Array:
    """Return the scientific name of each taxon."""
    place = pc.index_in(pa.array(np.arange(taxa, dtype=np.int32)), scientific["taxon"].combine_chunks())
    return scientific["name"].combine_chunks().take(place)


def _vernaculars(named: pa.Table, name_class: pa.ChunkedArray) -> pa.Table:
    preference = pc.index_in(name_class, pa.array(_COMMON)).cast(pa.int8())
    table = named.select(["taxon", "name"]).append_column("preference", preference).drop_null()
    language = pa.repeat(pa.scalar("en"), table.num_rows)
    return table.append_column("language", language).select(NO_VERNACULARS.column_names)
