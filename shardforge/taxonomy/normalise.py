"""One way of writing a scientific name, so that the same name from two files is the same text.

The normal form is Unicode NFC with single spaces, a capital first word and lower-case epithets. Authors, years, markup,
subgenera and rank markers (`subsp.`, `var.`) are left out, the hybrid sign is ` × `:

    Anas_PLATYRHYNCHOS            Anas Platyrhynchos Linnaeus, 1758 -> Anas platyrhynchos
    Salix xfragilis stays, since `x` may be the first letter of an epithet; Salix x fragilis -> Salix × fragilis
    Rosa canina L. var. alba      -> Rosa canina alba

Names that are open on purpose (`Anas cf. crecca`, `Culex sp. BOLD:AAA1234`) and those of viruses, which have no authors
(`Human virus 1`), keep their words; `Anas sp.` is `Anas`, and `Anas unknown` is no name (see
`shardforge.taxonomy.placeholders`).
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from shardforge.taxonomy.placeholders import (
    CELLS,
    FIRST_WORDS,
    LAST_WORDS,
    cut_placeholder,
    is_no_name,
    judge_names,
    may_say_nothing,
)

if TYPE_CHECKING:
    import pyarrow as pa

_HYBRID = "×"
_MARKUP = re.compile(r"<[^<>]*>")
_CHARACTERS = str.maketrans({"_": " ", **dict.fromkeys("✕✖⨉⨯", _HYBRID), **dict.fromkeys("\u00ad\u200b\ufeff")})
_GLUED_NOTHOGENUS = re.compile(r"x[A-Z][a-z]+")
_VIRUS = re.compile(r"(virus|viroid|phage)$", re.IGNORECASE)
_EPITHET = re.compile(r"(\d+-)?[^\W\d_]")
_AUTHORSHIP = re.compile(r"[,.&()'‘\"]|\d{4}")
_STRAIN = re.compile(r"(?!.*\d{4})[^\W_]*-?\d+[^\W_]*")

#: Words that tell that an identification is open.
_OPEN = frozenset({"cf.", "cf", "aff.", "aff", "nr.", "nr", "sp.", "sp", "spp.", "spp", "?"})
#: What no genus is called: a name that begins so lacks its own.
_NO_GENUS = _OPEN | {"spec.", "spec", "species", "gen."}
#: Words after a genus that say no more than that it has a species.
_GENUS_ONLY = _NO_GENUS | {"nov.", "nov", "n."}
_RANK_MARKERS = frozenset(
    prefix + marker
    for prefix in ("", "notho")
    for marker in ("subsp.", "subsp", "ssp.", "ssp", "var.", "var", "subvar.", "f.", "fo.", "forma", "subf.", "morph")
)
_AUTHOR_PARTICLES = frozenset(
    {
        *("auct.", "auct", "and", "da", "de", "del", "della", "den", "der", "des", "di", "do", "dos", "du", "emend."),
        *("et", "ex", "f.", "fil.", "hort.", "in", "la", "le", "nec", "non", "sensu", "ten", "ter", "van", "von"),
        *("zu", "zur"),
    }
)

# Already normal, told apart without Python: the bulk of every file.
_NORMAL = r"^[A-Z][a-z]+(-[a-z]+)?( [a-z]{3,}(-[a-z]+)?){0,2}$"
_NO_EPITHETS = "|".join(
    sorted(word for word in _RANK_MARKERS | _GENUS_ONLY | _AUTHOR_PARTICLES | LAST_WORDS if word.isalpha())
)
_NO_GENERA = "|".join(sorted(word.capitalize() for word in FIRST_WORDS | _NO_GENUS if word.isalpha()))
_NOT_NORMAL = f" ({_NO_EPITHETS})( |$)|^({_NO_GENERA}) "


def normalise_name(text: str) -> str:
    """Return the normal form of a scientific name of any rank; "" for nothing and for what says that there is none."""
    if not may_say_nothing(text):
        return " ".join(_normalise_words(_split(text)))
    if is_no_name(text):
        return ""
    name = " ".join(_normalise_words(_split(text, cut=True)))
    return "" if is_no_name(name) else name


def normalise_names(names: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the normal form of each name; null for nothing. Every distinct name is worked on once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(names, pa.ChunkedArray):
        names = names.combine_chunks()
    encoded = names.cast(pa.string()).dictionary_encode()
    distinct = encoded.dictionary
    normal = pc.and_not(pc.match_substring_regex(distinct, _NORMAL), pc.match_substring_regex(distinct, _NOT_NORMAL))
    normal = pc.and_not(normal, pc.is_in(distinct, pa.array([_capitalise(cell) for cell in sorted(CELLS)])))
    others = [normalise_name(name) or None for name in distinct.filter(pc.invert(normal)).to_pylist()]
    fixed = pc.replace_with_mask(distinct, pc.invert(normal), pa.array(others, pa.string()))
    return fixed.take(encoded.indices)


def find_no_names(cells: pa.Array, *, species: bool) -> pa.Array:
    """Return whether each cell says that there is no name, or that a genus has none (`Rosa unknown`); null for null.

    `species` says that the cells are of species, or of epithets alone.
    """

    def names_nothing(cell: str) -> bool:
        epithet = species and cell[:1].islower()
        return is_no_name(cell, species=species) or (not epithet and not normalise_name(cell))

    return judge_names(cells, names_nothing)


def name_keys(names: pa.Array) -> pa.Array:
    """Return what two normal forms are compared by: lower case, without the hybrid sign of a named hybrid.

    The sign is disregarded where names are compared (International Code of Nomenclature, article H.3.3), so
    `Salix × fragilis` and `Salix fragilis` are one name. A formula such as `Salix alba × fragilis` keeps it.
    """
    import pyarrow.compute as pc

    if pc.any(pc.match_substring(names, _HYBRID)).as_py():
        names = pc.replace_substring_regex(names, r"^([^ ×]+) × (\p{Ll})", r"\1 \2")
        names = pc.replace_substring_regex(names, "^× ", "")
    return pc.utf8_lower(names)


def _split(text: str, *, cut: bool = False) -> list[str]:
    """Return the words of a name without markup, with `cut` up to a placeholder; each hybrid sign is one word."""
    plain = unicodedata.normalize("NFC", _MARKUP.sub("", text)).translate(_CHARACTERS)
    words = [word for word in (word.strip(",;") for word in plain.replace(_HYBRID, f" {_HYBRID} ").split()) if word]
    last = len(words) - 1
    words = [_HYBRID if word in ("x", "X") and i < last else word for i, word in enumerate(words)]
    words = cut_placeholder(words) if cut else words
    if " ".join(words).isupper():
        words = [word.lower() for word in words]
    elif words and _GLUED_NOTHOGENUS.fullmatch(words[0]):
        words[:1] = [_HYBRID, words[0][1:]]
    return words


def _normalise_words(words: list[str]) -> list[str]:
    genus = words[words[0] == _HYBRID :][:1] if words else []
    if not genus or genus[0].lower() in _NO_GENUS:
        return []
    return _normalise_hybrid(words) if _HYBRID in words else _normalise_plain(words)


def _normalise_hybrid(words: list[str]) -> list[str]:
    """Return a hybrid genus (`× Aus bus`), a hybrid species (`Aus × bus`) or a formula (`Aus bus × cus`)."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == _HYBRID:
            parts.append([])
        else:
            parts[-1].append(word)
    first, *others = parts
    if not first:
        name = _normalise_words([word for part in others for word in part])
        return [_HYBRID, *name] if name else []
    others = [part for part in others if part and part[0].lower() not in _NO_GENUS]
    if len(first) == 1 and len(others) == 1 and _is_epithet(others[0][0]):
        genus, *rest = _normalise_plain([*first, *others[0]])
        return [genus, _HYBRID, *rest]
    names = [part if len(part) == 1 and _is_epithet(part[0]) else _normalise_plain(part) for part in others]
    return f" {_HYBRID} ".join(map(" ".join, [_normalise_plain(first), *names])).split()


def _normalise_plain(words: list[str]) -> list[str]:
    """Return genus and epithets of a name without hybrid sign."""
    first, *rest = words
    if len(rest) > 1 and rest[0].startswith("(") and rest[0].endswith(")") and _is_epithet(rest[1]):
        rest = rest[1:]  # a subgenus
    small = {word.lower() for word in rest}
    if small <= _GENUS_ONLY:
        return [_capitalise(first)]
    if _OPEN & small:
        return words
    if rest and any(map(_VIRUS.search, words)):
        return [first[:1].upper() + first[1:], *rest]
    kept = [_capitalise(first)]
    in_authorship = False
    for i, word in enumerate(rest):
        following = rest[i + 1] if i + 1 < len(rest) else ""
        if word in _RANK_MARKERS and _is_epithet(following):
            in_authorship = False
        elif not in_authorship:
            in_authorship = _starts_authorship(rest[i:], after_epithet=len(kept) > 1)
            kept += [] if in_authorship else [word.lower()]
    return kept[:1] if _GENUS_ONLY.issuperset(kept[1:]) else kept


def _starts_authorship(words: list[str], *, after_epithet: bool) -> bool:
    """Whether authors begin here; right after the genus, a capital alone is taken for a slip of the pen."""
    if _is_epithet(words[0]) or _STRAIN.fullmatch(words[0]):
        return False
    return after_epithet or words[0] in _AUTHOR_PARTICLES or bool(_AUTHORSHIP.search(" ".join(words)))


def _is_epithet(word: str) -> bool:
    """Whether a word can be an epithet as it is written: lower case, no particle of an author's name."""
    return bool(_EPITHET.match(word)) and word.islower() and "." not in word and word not in _AUTHOR_PARTICLES


def _capitalise(word: str) -> str:
    return word[:1].upper() + word[1:].lower()
