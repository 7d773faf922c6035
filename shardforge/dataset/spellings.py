"""Classes at a rank that are one taxon in two spellings, or no taxon: what to mend in the sources before writing."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from shardforge.mapping import Mapping
from shardforge.records import RANKS
from shardforge.taxonomy.kingdoms import normalise_kingdoms
from shardforge.taxonomy.normalise import name_keys, normalise_names


def list_spellings(mapping: Mapping, label: str | None) -> list[str]:
    """Return the planned classes that differ in form only, as "Felis catus = felis_catus", and those without a name.

    Names are compared as taxa are; names of classes that were told apart are left out. Of a label that is no rank
    nothing is said. Reads the temporary tables `planned` and `homonyms`.
    """
    if label not in RANKS:
        return []
    rows = mapping.rows(
        "SELECT DISTINCT class_name FROM planned WHERE class_name IS NOT NULL"
        " AND class_name NOT IN (SELECT class_name FROM homonyms WHERE class_name IS NOT NULL) ORDER BY 1"
    )
    names = pa.array([name for (name,) in rows], pa.string())
    normal = normalise_kingdoms(names) if label == "kingdom" else normalise_names(names)
    spellings: dict[str | None, list[str]] = {}
    for name, key in zip(names.to_pylist(), name_keys(pc.cast(normal, pa.string())).to_pylist(), strict=True):
        spellings.setdefault(key, []).append(name)
    placeholders = [f"{name} (no name)" for name in spellings.pop(None, [])]
    return [" = ".join(same) for same in spellings.values() if len(same) > 1] + placeholders
