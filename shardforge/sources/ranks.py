"""The columns of a record that name its taxon, from what a table or a folder says."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from shardforge.records import RANKS
from shardforge.taxonomy.kingdoms import normalise_kingdoms
from shardforge.taxonomy.normalise import normalise_names

#: A genus, with its hybrid sign, before an epithet.
_GENUS = r"^(?P<genus>(?:× )?[^ ]+) [^ ]"
_EPITHET = r"^[ _]*(×|\p{Ll})"


def normalise_ranks(columns: Mapping[str, pa.Array], rows: int) -> dict[str, pa.Array]:
    """Return the seven ranks in normal form, null where nothing is known.

    Args:
        columns: Name of the rank -> a name for each row. `species` is the whole name or, beside a genus, the epithet
            alone.
        rows: Their number.

    A genus that is not given is the first word of the species; every other gap stays one.
    """
    found = {
        rank: (normalise_kingdoms if rank == "kingdom" else normalise_names)(columns[rank])
        if rank in columns
        else pa.nulls(rows, pa.string())
        for rank in RANKS
    }
    if "species" in columns:
        given = columns["species"].cast(pa.string())
        whole = normalise_names(pc.binary_join_element_wise(found["genus"], given, " "))
        epithet = pc.match_substring_regex(given, _EPITHET).fill_null(False)
        found["species"] = pc.if_else(epithet, pc.coalesce(whole, found["species"]), found["species"])
        first = pc.struct_field(pc.extract_regex(found["species"], _GENUS), "genus")
        found["genus"] = pc.coalesce(found["genus"], first)
    return found


def lowest_rank(ranks: Mapping[str, pa.Array]) -> pa.Array:
    """Return the name at the lowest rank that is known; null where none is."""
    return pc.coalesce(*(ranks[rank] for rank in reversed(RANKS)))
