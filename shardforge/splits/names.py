"""What names are compared by: taxa in normal form, labels without regard to case, blanks and underscores."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from shardforge.taxonomy.normalise import name_keys, normalise_names

_SEVERAL_WORDS = r"[^\s_][\s_]+[^\s_]"
_SUBSPECIES = r"^(\pL[\pL-]* \pL[\pL-]*) \pL[\pL-]*$"
_HYPHENATED = re.compile(r"[^\s/-]*(?:-[^\s/-]*){5}-[^\s/]*")


def compare_taxa(names: pa.Array) -> pa.Array:
    """Return what names of taxa are compared by; null for what names none."""
    return name_keys(normalise_names(names))


def compare_species(names: pa.Array) -> pa.Array:
    """Return what species are compared by, subspecies as their species; null for what names none, as `Anas sp.`."""
    return species_keys(names, compare_taxa(names))


def species_keys(names: pa.Array, keys: pa.Array) -> pa.Array:
    """Return `compare_species` of names for which `compare_taxa` is known."""
    return pc.replace_substring_regex(drop_genera(names, keys), _SUBSPECIES, r"\1")


def drop_genera(names: pa.Array, keys: pa.Array) -> pa.Array:
    """Return the keys of species without those of names that say no more than their genus, as `Anas sp.`."""
    reduced = pc.and_(pc.match_substring_regex(names, _SEVERAL_WORDS), pc.invert(pc.match_substring(keys, " ")))
    return pc.if_else(reduced, None, keys)


def compare_labels(labels: pa.Array) -> pa.Array:
    """Return what labels are compared by, which need not be names of taxa."""
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(labels), r"[\s_]+", " "))


def read_taxon(text: str) -> str:
    """Return the name of a taxon; of seven ranks joined by hyphens, kingdom to epithet, the lowest that is filled."""
    if not _HYPHENATED.fullmatch(text):
        return text
    *higher, epithet = text.split("-", 6)
    if higher[-1] and epithet:
        return f"{higher[-1]} {epithet}"
    return next((name for name in (epithet, *reversed(higher)) if name), text)
