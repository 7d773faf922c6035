"""What a record is at a rank, in SQL: one reading of the rank columns for classes, held-out taxa and exclusions."""

from __future__ import annotations

from shardforge.records import RANKS
from shardforge.taxonomy.placeholders import no_name_sql


def rank_name_sql(rank: str) -> str:
    """Return the SQL for the name that a row of `images` has at a rank, or NULL.

    A species written without its genus is read with it, so that an epithet that many genera have names no class; such a
    one begins with a small letter or the hybrid sign and not with the genus, as in `shardforge.taxonomy`. The genus
    alone is no species.
    """
    if rank == "species":
        first = "substr(species, 1, 1)"
        start = "lower(replace(substr(species, 1, length(genus) + 1), '_', ' '))"
        small = f"({first} BETWEEN 'a' AND 'z' OR {first} = '×')"
        without_genus = f"genus <> '' AND {small} AND {start} <> lower(genus) || ' '"
        return f"CASE WHEN {without_genus} THEN genus || ' ' || species ELSE nullif(nullif(species, ''), genus) END"
    return f"nullif(\"{rank}\", '')"


def known_sql(column: str) -> str:
    """Return the SQL for a column of `images`, or NULL where it is empty or a rank that says that there is no name.

    The names that a mapping gets have none such; one of before may.
    """
    if column not in RANKS:
        return f"nullif(\"{column}\", '')"
    nothing = no_name_sql(f'"{column}"', species=column == "species")
    return f'CASE WHEN {nothing} THEN NULL ELSE "{column}" END'


def higher_ranks_sql(rank: str) -> str:
    """Return the SQL of six columns, kingdom to genus: the names of a row of `images` above a rank, else NULL."""
    above = RANKS[: RANKS.index(rank)]
    return ", ".join(
        f'nullif("{name}", \'\') AS "{name}"' if name in above else f'CAST(NULL AS VARCHAR) AS "{name}"'
        for name in RANKS[:-1]
    )
