"""Near duplicates as a split takes them: from the search that `shardforge duplicates` stored in the mapping."""

from __future__ import annotations

from shardforge.errors import SplitError
from shardforge.mapping import Mapping


def read_search(mapping: Mapping) -> dict[str, int]:
    """Return the distance and the least quality of the stored search, which a split records.

    Raises:
        SplitError: there was no search, or usable images came to the mapping after it.
    """
    tables = mapping.rows("SELECT 1 FROM sqlite_master WHERE name = 'near_duplicate_searches'")
    searches = mapping.rows("SELECT distance, min_quality FROM near_duplicate_searches") if tables else []
    if not searches:
        raise SplitError(
            f"{mapping.path}: near duplicates were not looked for yet; run `shardforge duplicates --db {mapping.path}`"
        )
    [(distance, min_quality)] = searches
    unseen = dict(mapping.rows(mapping.query("select_unsearched"), min_quality=min_quality))
    if new := unseen.get("not_hashed", 0) + unseen.get("no_hash", 0):
        raise SplitError(
            f"{mapping.path}: {new:,} usable images were not compared by their pictures: they were mapped later, "
            f"without a content hash, or cannot be read; run `shardforge map --db {mapping.path}`, then `shardforge "
            f"duplicates --db {mapping.path}`"
        )
    return {"distance": distance, "min_quality": min_quality}
