"""One class for one name: names at a rank that differ in form only, as `Felis catus` and `felis_catus`, are merged.

Names are compared as taxa are (see `shardforge.taxonomy.normalise`): case, blanks, Unicode forms, authors and ways of
writing a hybrid do not matter. The class has the spelling of most images; of equally many the normal form, then the
smallest. What names no taxon makes no class.
"""

from __future__ import annotations

from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from shardforge.mapping import Mapping
from shardforge.splits.names import drop_genera
from shardforge.taxonomy.kingdoms import normalise_kingdoms
from shardforge.taxonomy.normalise import name_keys, normalise_names


def merge_spellings(mapping: Mapping, rank: str) -> None:
    """Give the planned records, and what stands above their names, one spelling of each name at `rank`.

    Reads and changes the temporary tables `planned` and `class_paths`; leaves in `class_spellings` the names that are
    written in several ways, and those that are none. All usable records are counted, so that a class has one name
    whichever splits are written.
    """
    counted = list(mapping.batches("SELECT name, CAST(sum(images) AS BIGINT) AS images FROM class_paths GROUP BY name"))
    if not counted:
        return
    names = _add_keys(pa.concat_tables(counted).combine_chunks(), rank)
    if found := _choose_spellings(names):
        schema = pa.schema([("written", pa.string()), ("name", pa.string()), ("images", pa.int64())])
        mapping.insert("class_spellings", pa.table(list(zip(*found, strict=True)), schema=schema))
        mapping.execute(mapping.query("merge_spellings"))


def list_spellings(mapping: Mapping) -> list[str]:
    """Return what was found, with images, as "Felis catus (9) = felis_catus (2)" and "unknown (1) = no class"."""
    rows = mapping.rows(
        "SELECT name, written, images FROM class_spellings"
        " ORDER BY name IS NULL, name, written <> name, images DESC, written"
    )
    lines = []
    for name, group in groupby(rows, key=lambda row: row[0]):
        written = [f"{spelling} ({images:,})" for _, spelling, images in group]
        lines += [f"{one} = no class" for one in written] if name is None else [" = ".join(written)]
    return lines


def _add_keys(counted: pa.Table, rank: str) -> pa.Table:
    """Return names and images with what the names are compared by, null for no name, and whether they are normal."""
    names = counted["name"].combine_chunks().cast(pa.string())
    normal = normalise_kingdoms(names) if rank == "kingdom" else normalise_names(names)
    keys = name_keys(normal)
    if rank == "species":
        keys = drop_genera(names, keys)
    return pa.table({"name": names, "images": counted["images"], "key": keys, "normal": pc.equal(names, normal)})


def _choose_spellings(names: pa.Table) -> list[tuple[str, str | None, int]]:
    """Return spelling, spelling kept, and images, of names in several spellings; None is kept of what is no name."""
    sizes = names["key"].combine_chunks().drop_null().value_counts()
    several = sizes.field("values").filter(pc.greater(sizes.field("counts"), 1))
    found = names.filter(pc.or_(pc.is_null(names["key"]), pc.is_in(names["key"], value_set=several)))
    order = (("key", "ascending"), ("images", "descending"), ("normal", "descending"), ("name", "ascending"))
    kept: dict[str, str] = {}
    return [
        (row["name"], row["key"] and kept.setdefault(row["key"], row["name"]), row["images"])
        for row in found.sort_by(order).to_pylist()
    ]
