"""What files write where they have no name: one rule for Python, for columns and for SQL.

A cell says nothing when it is one of `CELLS`, begins with one of `FIRST_WORDS`, or has no letter and no digit, whatever
its case and whatever stands at its edges: `unknown`, `N/A`, `-`, `?`, `not_classified`, `Unidentified bird`,
`uncultured bacterium`. What is a placeholder as a whole cell may be a part of a name: `nana` is a species, and `na`,
`Na` and `Nan`, written as epithets and genera are, may be some; but a cell for a species that holds `Na` alone names
none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
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


def is_no_name(text: str, *, species: bool = False) -> bool:
    """Whether a cell says that there is no name; `species` says that it is one for a species or an epithet."""
    plain = _plain(text)
    nothing = plain in CELLS or plain.startswith(_BEGIN)
    return nothing and (species or text.strip(_EDGES) not in _GENERA)


def are_no_names(cells: pa.Array | pa.ChunkedArray, *, species: bool = False) -> pa.Array | pa.ChunkedArray:
    """Return `is_no_name` for each cell, null for null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    spaced = cells
    for letter in _SPACES:
        spaced = pc.replace_substring(spaced, letter, " ")
    plain = pc.utf8_trim(pc.ascii_lower(spaced), _EDGES)
    begins = f"^(?:{'|'.join(map(re.escape, _BEGIN))})"
    nothing = pc.or_(pc.is_in(plain, pa.array(sorted(CELLS))), pc.match_substring_regex(plain, begins))
    if not species:
        nothing = pc.and_not(nothing, pc.is_in(pc.utf8_trim(cells, _EDGES), pa.array(_GENERA)))
    return pc.if_else(pc.is_valid(cells), nothing, None)


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
    end = next((place for place in range(first, len(words)) if _ends_name(words[place])), len(words))
    if end == len(words):
        return words
    while words[end - 1] == "×":
        end -= 1
    return words[:end] if end > first else []


def _ends_name(word: str) -> bool:
    plain = word.strip(_EDGES).lower()
    if plain == "na":
        return word.strip(_EDGES) != "na"
    return plain in LAST_WORDS or (not plain and not set(word) & set("?×&"))


def _plain(text: str) -> str:
    return text.translate(_TO_SPACE).lower().strip(_EDGES)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _list(texts: Iterable[str]) -> str:
    return ", ".join(map(_quote, sorted(texts)))
