"""The columns of a record that name its taxon, from what a table or a folder says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from shardforge.records import RANKS
from shardforge.taxonomy.kingdoms import normalise_kingdoms
from shardforge.taxonomy.normalise import find_no_names, normalise_names
from shardforge.taxonomy.taxon import full_species, genera_alone, genera_of


def normalise_ranks(columns: Mapping[str, pa.Array], rows: int) -> dict[str, pa.Array]:
    """Return the seven ranks in normal form, null where nothing is known.

    Args:
        columns: Name of the rank -> a name for each row. `species` is the whole name or, beside a genus, the epithet
            alone.
        rows: Their number.

    A genus that is not given is that of the species (see `shardforge.taxonomy.taxon`); every other gap stays one. What
    says that there is no name (see `shardforge.taxonomy.placeholders`) is a gap.
    """
    found = {
        rank: (normalise_kingdoms if rank == "kingdom" else normalise_names)(columns[rank])
        if rank in columns
        else pa.nulls(rows, pa.string())
        for rank in RANKS[:-1]
    }
    species = columns.get("species", pa.nulls(rows)).cast(pa.string())
    found["species"] = full_species(found["genus"], species)
    found["genus"] = pc.coalesce(found["genus"], genera_of(found["species"]), genera_alone(species))
    return found


def drop_no_names(batch: pa.Table) -> tuple[pa.Table, Counter[str]]:
    """Return records without what says at a rank that there is no name, and how often each cell said so."""
    dropped: Counter[str] = Counter()
    for rank in RANKS:
        cells = batch[rank].combine_chunks()
        if cells.null_count == len(cells):
            continue
        nothing = find_no_names(cells, species=rank == "species").fill_null(False)
        if pc.any(nothing).as_py():
            for counted in cells.filter(nothing).value_counts().to_pylist():
                dropped[counted["values"]] += counted["counts"]
            kept = pc.if_else(nothing, pa.scalar(None, pa.string()), cells)
            batch = batch.set_column(batch.column_names.index(rank), batch.schema.field(rank), kept)
    return batch, dropped


def lowest_rank(ranks: Mapping[str, pa.Array]) -> pa.Array:
    """Return the name at the lowest rank that is known; null where none is."""
    return pc.coalesce(*(ranks[rank] for rank in reversed(RANKS)))
