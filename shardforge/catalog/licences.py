"""Licences of images: one name for the many spellings of a licence, and what it allows.

Known are the licences and public-domain tools of Creative Commons (https://creativecommons.org/share-your-work/),
"public domain" and "all rights reserved". A text is known when all its words are: what says more than that, or
something else, stays unknown and is never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_HOST = "https://creativecommons.org"


@dataclass(frozen=True, slots=True)
class Licence:
    """A known licence. `hub_id` is its identifier in the front matter of a card on Hugging Face, "other" without one.

    `redistribution`, `commercial` and `derivatives` say what it allows; `attribution` that the author must be named,
    `share_alike` that changed copies must carry the same licence.
    """

    name: str
    url: str | None
    hub_id: str
    redistribution: bool = True
    commercial: bool = True
    derivatives: bool = True
    attribution: bool = False
    share_alike: bool = False


CC0 = Licence("CC0 1.0", f"{_HOST}/publicdomain/zero/1.0/", "cc0-1.0")
PUBLIC_DOMAIN_MARK = Licence("Public Domain Mark 1.0", f"{_HOST}/publicdomain/mark/1.0/", "other")
PUBLIC_DOMAIN = Licence("Public domain", None, "other")
ALL_RIGHTS_RESERVED = Licence(
    "All rights reserved", None, "other", redistribution=False, commercial=False, derivatives=False
)

#: Each way of writing a part of a licence's name, and the short one.
_SHORT_FORMS = (
    (r"^(\(c\)|©).*,\s*(?=(some|all|no) rights reserved)", ""),
    (r"\bcc[\s_-]*0", "zero "),
    (r"(?<=\d)_(?=\d)", "."),
    (r"non[\s_-]*commercial", "nc"),
    (r"no[\s_-]*deriv(ative)?s?([\s_-]+works?)?", "nd"),
    (r"share[\s_-]*alike", "sa"),
    (r"attribution", "by"),
    (r"creative[\s_-]*commons(?!\.)", "cc"),
    (r"public[\s_-]*domain", "publicdomain"),
)
_WORD = re.compile(r"[^\W_]+(?:\.[^\W_]+)*")
_VERSIONS = {"1": "1.0", "2": "2.0", "3": "3.0", "4": "4.0"} | {v: v for v in ("1.0", "2.0", "2.5", "3.0", "4.0")}

#: Words that do not change which licence it is.
_FILLER = re.compile(
    r"c|cc|licen[cs]e[ds]?|under|the|(no|some)|rights|reserved|international|unported|generic|universal|version|v|migrated|"
    r"https?|www|creativecommons\.org|(deed|legalcode)(\.[a-z-]+)?"
)
#: The country to whose law a licence is ported.
_COUNTRY = re.compile(r"igo|[a-z]{2}")
_TERMS = frozenset({"by", "nc", "nd", "sa"})
#: The licences, and the versions of each that have an identifier on the Hub; the others are of its family "cc".
_HUB_VERSIONS = {
    "by": ("2.0", "2.5", "3.0", "4.0"),
    "by-sa": ("3.0", "4.0"),
    "by-nd": ("4.0",),
    "by-nc": ("2.0", "3.0", "4.0"),
    "by-nc-sa": ("2.0", "3.0", "4.0"),
    "by-nc-nd": ("3.0", "4.0"),
}
#: The words that name a public-domain tool, and those that may stand beside them.
_TOOLS: tuple[tuple[set[str], set[str], Licence], ...] = (
    ({"zero", "dedication"}, {"publicdomain"}, CC0),
    ({"mark", "pdm"}, {"publicdomain"}, PUBLIC_DOMAIN_MARK),
    ({"publicdomain", "pd"}, set(), PUBLIC_DOMAIN),
)


@lru_cache(maxsize=10_000)
def recognise_licence(text: str | None) -> Licence | None:
    """Return the licence that a source's text names, or None when it is not a known one.

    "CC BY-NC 4.0", "cc-by-nc-4.0", "CC_BY_NC_4_0", "http://creativecommons.org/licenses/by-nc/4.0/" and
    "Attribution-NonCommercial 4.0 International" are the same licence.
    """
    if text is None:
        return None
    short = text.casefold()
    for pattern, form in _SHORT_FORMS:
        short = re.sub(pattern, form, short)
    words = set(_WORD.findall(short))
    if words - {"c"} == {"all", "rights", "reserved"}:
        return ALL_RIGHTS_RESERVED
    versions = {_VERSIONS[word] for word in words if word in _VERSIONS}
    names = {word for word in words if word not in _VERSIONS and not _FILLER.fullmatch(word)}
    if len(versions) > 1:
        return None
    for naming, beside, tool in _TOOLS:
        if names & naming and names <= naming | beside:
            return tool if versions <= {"1.0"} else None
    country = names - _TERMS
    if len(country) > 1 or not all(_COUNTRY.fullmatch(word) for word in country):
        return None
    return _creative_commons(names & _TERMS, next(iter(versions), None))


def _creative_commons(terms: set[str], version: str | None) -> Licence | None:
    """Return the Creative Commons licence of these terms; None where there is none of them."""
    chosen = "-".join(term for term in ("by", "nc", "nd", "sa") if term in terms)
    if chosen not in _HUB_VERSIONS:
        return None
    return Licence(
        name=" ".join(filter(None, ("CC", chosen.upper(), version))),
        url=f"{_HOST}/licenses/{chosen}/{version}/" if version else None,
        hub_id=f"cc-{chosen}-{version}" if version in _HUB_VERSIONS[chosen] else "cc",
        commercial="nc" not in terms,
        derivatives="nd" not in terms,
        attribution=True,
        share_alike="sa" in terms,
    )
