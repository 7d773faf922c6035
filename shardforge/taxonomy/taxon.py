"""A taxon: the names of the seven ranks, the lowest of which says what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import partial
from typing import TYPE_CHECKING

from shardforge.records import RANKS
from shardforge.taxonomy.kingdoms import normalise_kingdom
from shardforge.taxonomy.normalise import normalise_name, normalise_names
from shardforge.taxonomy.placeholders import is_no_name, judge_names

if TYPE_CHECKING:
    import pyarrow as pa

_EPITHET = r"^(\p{Ll}|×)"
_SPACE = "\\s_\xa0\u202f"
_SEVERAL_WORDS = f"[^{_SPACE}][{_SPACE}]+[^{_SPACE}]"
#: What names of families, orders and their like end in: `Rosaceae sp.` has no genus.
_HIGHER = re.compile(r"(aceae|idae|ales|inae|oidea|iformes)$")
_FIRST_OF_SEVERAL = r"^(?P<first>[^ _]+)[ _]+."


@dataclass(frozen=True, slots=True)
class Taxon:
    """The seven ranks in normal form, "" where one is not known; `species` is the whole name (`Anas platyrhynchos`)."""

    kingdom: str = ""
    phylum: str = ""
    class_: str = ""
    order: str = ""
    family: str = ""
    genus: str = ""
    species: str = ""

    @property
    def ranks(self) -> dict[str, str]:
        """The ranks that are known, highest first: name of the column -> name of the taxon."""
        return {rank: name for rank, name in zip(RANKS, astuple(self), strict=True) if name}

    @property
    def epithet(self) -> str:
        """What follows the genus: `platyrhynchos`, `× fragilis`, `simum simum`; the whole name under another genus."""
        return self.species.removeprefix(f"{self.genus} ") if self.genus else self.species

    @property
    def name(self) -> str:
        """The name at the lowest rank that is known."""
        return next(reversed(self.ranks.values()), "")


def make_taxon(names: Mapping[str, str | None]) -> Taxon:
    """Return the taxon for names by rank as a file has them, in normal form.

    `species` may be the whole name or, beside a genus, the epithet alone; one that says no more than the genus (`Anas
    sp.`, or `unknown` beside it) is none. A genus that is not given is the first word of the species.
    """
    known = {rank: normalise_name(names.get(rank) or "") for rank in RANKS}
    known["kingdom"] = normalise_kingdom(known["kingdom"])
    written = (names.get("species") or "").strip(" _")
    if is_no_name(written, species=True):
        known["species"] = ""
    elif known["genus"] and is_epithet(written, known["genus"]):
        known["species"] = normalise_name(f"{known['genus']} {written}")
    elif genus := genus_alone(written):
        known["species"] = ""
        known["genus"] = known["genus"] or ("" if _HIGHER.search(genus) else genus)
    if known["species"] == known["genus"]:
        known["species"] = ""
    known["genus"] = known["genus"] or genus_of(known["species"])
    return Taxon(*known.values())


def is_epithet(text: str, genus: str) -> bool:
    """Whether a species is written without its genus: it begins with a small letter or the hybrid sign.

    `felis_catus` of the genus Felis is not: a name in small letters.
    """
    small = text[:1].islower() or text[:1] == "×"
    return small and not text.replace("_", " ").lower().startswith(f"{genus.lower()} ")


def genus_of(species: str) -> str:
    """Return the genus of a species in normal form; "" where the first word is none (one word alone, a virus)."""
    words = species.split()
    if len(words) < 2 or words[-1].endswith("virus"):
        return ""
    return " ".join(words[:2]) if words[0] == "×" else words[0]


def genus_alone(species: str) -> str:
    """Return the genus, in normal form, of a species as written that says no more (`Anas sp.`); "" for others."""
    name = normalise_name(species)
    return name if " " not in name and re.search(_SEVERAL_WORDS, species) else ""


def genera_alone(species: pa.Array) -> pa.Array:
    """Return the genus of each species as written that says no more (`Anas sp.`); null for others."""
    import pyarrow.compute as pc

    names = normalise_names(species)
    alone = pc.and_not(pc.match_substring_regex(species, _SEVERAL_WORDS), pc.match_substring_regex(names, " "))
    return pc.if_else(pc.and_not(alone, pc.match_substring_regex(names, _HIGHER.pattern)), names, None)


def genera_of(species: pa.Array) -> pa.Array:
    """Return `genus_of` each species, null for none. Every distinct name is worked on once."""
    import pyarrow as pa

    encoded = species.dictionary_encode()
    genera = [genus_of(name) or None for name in encoded.dictionary.to_pylist()]
    return pa.array(genera, pa.string()).take(encoded.indices)


def full_species(genus: pa.Array, species: pa.Array) -> pa.Array:
    """Return species in normal form from those as written; the genus, in normal form, goes before an epithet alone.

    What says no more than the genus (`Anas sp.`, or `unknown` beside it) is null.
    """
    import pyarrow.compute as pc

    normal = normalise_names(species)
    trimmed = pc.utf8_trim(species, " _")
    first = pc.struct_field(pc.extract_regex(pc.utf8_lower(trimmed), _FIRST_OF_SEVERAL), "first")
    whole_in_small = pc.equal(first, pc.utf8_lower(genus)).fill_null(False)
    written_alone = pc.and_not(pc.match_substring_regex(trimmed, _EPITHET), whole_in_small)
    alone = pc.and_(pc.is_valid(genus), written_alone).fill_null(False)
    whole = pc.binary_join_element_wise(genus, pc.if_else(alone, trimmed, None), " ")
    full = pc.if_else(alone, normalise_names(whole), normal)
    says_no_more = pc.and_not(pc.match_substring_regex(trimmed, _SEVERAL_WORDS), pc.match_substring(full, " "))
    nothing = pc.or_kleene(
        judge_names(trimmed, partial(is_no_name, species=True)), pc.or_kleene(pc.equal(full, genus), says_no_more)
    )
    return pc.if_else(nothing.fill_null(False), None, full)
