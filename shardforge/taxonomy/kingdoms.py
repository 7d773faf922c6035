"""Kingdoms under one name each, whichever classification a file follows.

The names kept are the kingdoms of the GBIF backbone: Animalia, Archaea, Bacteria, Chromista, Fungi, Plantae, Protozoa
and Viruses. A kingdom that is not in the table keeps its own name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardforge.taxonomy.normalise import normalise_name, normalise_names

if TYPE_CHECKING:
    import pyarrow as pa

#: Name in a file -> name kept. NCBI Taxonomy ranks Metazoa and Viridiplantae as kingdoms; the EOL Dynamic Hierarchy has
#: Archaeplastida and Chloroplastida; the kingdoms of prokaryotes are of Göker and Oren (2024), whom NCBI follows.
KINGDOMS = {
    "Metazoa": "Animalia",
    "Animals": "Animalia",
    "Viridiplantae": "Plantae",
    "Archaeplastida": "Plantae",
    "Chloroplastida": "Plantae",
    "Plants": "Plantae",
    "Mycota": "Fungi",
    "Eumycota": "Fungi",
    "Eubacteria": "Bacteria",
    "Bacillati": "Bacteria",
    "Fusobacteriati": "Bacteria",
    "Pseudomonadati": "Bacteria",
    "Thermotogati": "Bacteria",
    "Archaebacteria": "Archaea",
    "Methanobacteriati": "Archaea",
    "Nanobdellati": "Archaea",
    "Promethearchaeati": "Archaea",
    "Thermoproteati": "Archaea",
    "Virus": "Viruses",
}


def normalise_kingdom(text: str) -> str:
    """Return the name kept for a kingdom as a file writes it; "" for nothing."""
    name = normalise_name(text)
    return KINGDOMS.get(name, name)


def normalise_kingdoms(names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the name kept for each kingdom; null for nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    normal = normalise_names(names)
    kept = pa.array(KINGDOMS.values(), pa.string()).take(pc.index_in(normal, pa.array(KINGDOMS, pa.string())))
    return pc.coalesce(kept, normal)
