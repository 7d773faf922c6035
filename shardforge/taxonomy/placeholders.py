"""What files write where they have no name: one rule for Python, for columns and for SQL.

A cell says nothing when it is one of `CELLS`, begins with one of `FIRST_WORDS`, or has no letter and no digit, whatever
its case and whatever stands at its edges: `unknown`, `N/A`, `-`, `?`, `not_classified`, `Unidentified bird`,
`uncultured bacterium`. What is a placeholder as a whole cell may be a part of a name: `nana` is a species, and `na`,
`Na` and `Nan`, written as epithets and genera are, may be some; but a cell for a species that holds `Na` alone names
none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

#: Words that say of what follows that it is not known.
FIRST_WORDS = frozenset(
    {
        *("unknown", "unidentified", "unidentifiable", "unclassified", "unassigned", "undetermined", "undefined"),
        *("unspecified", "unnamed", "undescribed", "unresolved", "uncultured", "environmental", "incertae", "indet"),
        *("indet.", "undet", "undet.", "indeterminate", "indetermined", "not"),
    }
)
#: Whole cells, as `_plain` gives them.
CELLS = frozenset(
    {
        *FIRST_WORDS,
        *("", "none", "null", "nan", "na", "n/a", "n.a", "n a", "n. a", "nd", "n.d", "n/d", "tbd", "tba", "missing"),
        *("blank", "empty", "please help", "to be determined"),
        *("no name", "no id", "no identification", "no data", "no value", "no taxon", "no match", "pleasehelp"),
        *("sp", "spp", "spec", "species", "sp. nov", "gen", "genus", "gen. sp", "fam", "family", "ambiguous taxa"),
    }
)
#: Words that end a name: it says nothing from there on.
LAST_WORDS = frozenset({*FIRST_WORDS, "none", "null", "nan", "n/a", "n.a", "pleasehelp"})

#: What stands for a space.
_SPACES = ("_", "\xa0", "\u202f", "\t")
_EDGES = " .,;:!?*#-+=/\\|()[]{}<>\"'`~×‐‑‒–—―−…·•"
#: Genera that are written as what some programs make of a missing value.
_GENERA = ("Na", "Nan")
_TO_SPACE = str.maketrans(dict.fromkeys(_SPACES, " "))
_BEGIN = tuple(f"{word} " for word in sorted(FIRST_WORDS))

# What is looked at closer, so that the bulk of names costs little: the words above, and marks that stand alone.
_TOKEN = re.compile(r"[^\W_]+")
_TELLING = frozenset(token for text in CELLS | LAST_WORDS for token in _TOKEN.findall(text))
_TELLING_BYTES = frozenset(token.encode() for token in _TELLING)
_TO_TOKENS = bytes(byte if bytes([byte]).isalnum() else 32 for byte in range(256))
_LONE_MARK = re.compile(r"(?:^|[\s_])[^\w\s×?&]+(?:[\s_]|$)")
_SUSPECT = (
    rf"(?i)(?:^|[^\pL\pN])(?:{'|'.join(sorted(_TELLING))})(?:[^\pL\pN]|$)"
    r"|^[^\pL\pN]*$|(?:^|[\pZ\s_])[^\pL\pN]+(?:[\pZ\s_]|$)"
)


def is_no_name(text: str, *, species: bool = False) -> bool:
    """Whether a cell says that there is no name; `species` says that it is one for a species or an epithet."""
    plain = _plain(text)
    nothing = plain in CELLS or plain.startswith(_BEGIN)
    return nothing and (species or text.strip(_EDGES) not in _GENERA)


def may_say_nothing(text: str) -> bool:
    """Whether `is_no_name` and `cut_placeholder` may find anything in a name."""
    tokens = text.lower().encode(errors="replace").translate(_TO_TOKENS).split()  # a regex takes several times as long
    return not tokens or not _TELLING_BYTES.isdisjoint(tokens) or _LONE_MARK.search(text) is not None


def judge_names(cells: pa.Array, says_nothing: Callable[[str], bool]) -> pa.Array:
    """Return whether each cell says nothing by a rule, which is asked for those that may; null for null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = cells.dictionary_encode()
    distinct = encoded.dictionary
    suspect = pc.match_substring_regex(distinct, _SUSPECT)
    judged = [says_nothing(name) for name in distinct.filter(suspect).to_pylist()]
    return pc.replace_with_mask(suspect, suspect, pa.array(judged, pa.bool_())).take(encoded.indices)


def no_name_sql(column: str, *, species: bool = False) -> str:
    """Return the SQL condition that is true where `is_no_name` holds for a column's text, in DuckDB and SQLite."""
    spaced = column
    for letter in _SPACES:
        spaced = f"replace({spaced}, '{letter}', ' ')"
    plain = f"trim(lower({spaced}), {_quote(_EDGES)})"
    first = f"substr({plain}, 1, instr({plain} || ' ', ' ') - 1)"
    nothing = f"({plain} IN ({_list(CELLS)}) OR {first} IN ({_list(FIRST_WORDS)}))"
    return nothing if species else f"({nothing} AND trim({column}, {_quote(_EDGES)}) NOT IN ({_list(_GENERA)}))"


def cut_placeholder(words: list[str]) -> list[str]:
    """Return the words of a name up to one that says nothing; none where only the first one is left.

    `Rosa unknown` and `Rosaceae incertae sedis` are no names: `Rosa` is the genus of what has no name. `Rosa alba NA`
    is `Rosa alba`.
    """
    first = 2 if words[:1] == ["×"] else 1  # where the genus ends
    places = range(first, len(words))
    end = next((i for i in places if _ends_name(words[i], genus=words[i - 1] == "×")), len(words))
    if end == len(words):
        return words
    while words[end - 1] == "×":
        end -= 1
    return words[:end] if end > first else []


def _ends_name(word: str, *, genus: bool) -> bool:
    """Whether a word behind others says nothing; `genus` says that a genus may stand there, as behind a hybrid sign."""
    written = word.strip(_EDGES)
    plain = written.lower()
    if plain == "na" or (genus and written in _GENERA):
        return written not in (("na", *_GENERA) if genus else ("na",))
    return plain in LAST_WORDS or (not plain and not set(word) & set("?×&"))


def _plain(text: str) -> str:
    return text.translate(_TO_SPACE).lower().strip(_EDGES)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _list(texts: Iterable[str]) -> str:
    return ", ".join(map(_quote, sorted(texts)))
