"""What a caption says about a taxon: the kinds of text that TreeOfLife-10M has, each by its template."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from shardforge.records import RANKS
from shardforge.taxonomy.taxon import make_taxon

#: Raised whenever the same record gets another text, so that shards are not taken for those of other rules.
TEXT_RULES = 2

#: Kind -> template. The names are those of TreeOfLife-10M; what stands in braces is explained in FIELDS.
TEXTS: dict[str, str] = {
    "sci": "a photo of {scientific}.",
    "com": "a photo of {common}.",
    "taxon": "a photo of {taxonomic}.",
    "taxonTag": "a photo of {tagged}.",
    "sci_com": "a photo of {scientific} with common name {common}.",
    "taxon_com": "a photo of {taxonomic} with common name {common}.",
    "taxonTag_com": "a photo of {tagged} with common name {common}.",
    "scientific_name": "{scientific}",
    "taxonomic_name": "{taxonomic}",
    "common_name": "{common}",
}

#: Field of a template -> what it holds.
FIELDS: dict[str, str] = {
    "scientific": "the species, else the name at the lowest rank that is known",
    "taxonomic": "the names at all known ranks from the kingdom down; of the species what follows the genus",
    "tagged": "the same, each name after that of its rank",
    "common": "the common name, else the scientific name",
}


def text_extension(kind: str) -> str:
    """Return the extension of a kind's member: in lower case, since webdataset lowers it and other readers do not."""
    return f"{kind.lower()}.txt"


def make_text(kind: str, record: Mapping[str, str | None]) -> str:
    """Return the text of a kind for a record's ranks and `common_name`; "" when it has none of them."""
    fields = _make_fields(tuple(record.get(rank) for rank in RANKS), record.get("common_name"))
    return TEXTS[kind].format_map(fields) if fields["common"] else ""


@lru_cache(maxsize=4_096)
def _make_fields(ranks: tuple[str | None, ...], common_name: str | None) -> dict[str, str]:
    """Return field -> its text for one taxon; images of one taxon often follow each other."""
    taxon = make_taxon(dict(zip(RANKS, ranks, strict=True)))
    common = " ".join((common_name or "").split()) or taxon.name
    names = taxon.ranks | ({"species": taxon.epithet} if taxon.species else {})
    return {
        "scientific": taxon.name or common,
        "taxonomic": " ".join(names.values()) or common,
        "tagged": " ".join(f"{rank} {name}" for rank, name in names.items()) or common,
        "common": common,
    }
