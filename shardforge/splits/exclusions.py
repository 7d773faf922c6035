"""Exclusion lists in force: records that must not be written, named by what `matching` compares or by taxon.

A list stays in force for later runs until a file of the same name replaces it. Its rows in the table `exclusions`: an
entry that names records is a row with the key of each; a taxon is a row without key, beside a row for each of its
records, which every run renews.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from shardforge.mapping import Mapping
from shardforge.splits.exclusion_lists import ExclusionList, check_names
from shardforge.splits.matching import load_entries, match_records, match_taxa, suggest_names

#: Entries of a list without a record for which similar names are looked up.
_MOST_SUGGESTED = 10


@dataclass(frozen=True, slots=True)
class ExclusionCount:
    """The otherwise usable records that a list keeps out for one reason.

    `entries` is None for a list that an earlier run stored: its file was not given this time.
    """

    list: str
    reason: str | None
    entries: int | None
    images: int


def store_exclusions(mapping: Mapping, lists: Sequence[ExclusionList]) -> tuple[str, ...]:
    """Replace the lists that are given, and renew what all lists in force keep out.

    Returns the names of the lists that had other entries before.

    Raises:
        UsageError: two lists have the same name, or one cannot be read.
    """
    check_names(lists)
    before = digest_exclusions(mapping) if lists else {}
    loaded = load_entries(mapping, lists)
    for one in lists:
        mapping.execute("DELETE FROM exclusions WHERE list = $list", list=one.name)
    if loaded:
        match_records(mapping)
        mapping.execute(mapping.query("store_exclusions"))
    match_taxa(mapping)
    after = digest_exclusions(mapping) if lists else {}
    return tuple(sorted(one.name for one in lists if before.get(one.name) not in (None, after.get(one.name))))


def count_exclusions(mapping: Mapping, lists: Sequence[ExclusionList]) -> tuple[ExclusionCount, ...]:
    """Return the records kept out, by list and reason, over all lists in force."""
    images = {(name, reason): count for name, reason, count in mapping.rows(mapping.query("count_exclusions"))}
    counted = mapping.rows("SELECT list, reason, count(*) FROM entries GROUP BY list, reason")
    entries = {(name, reason): count for name, reason, count in counted}
    given = {one.name for one in lists}
    stored = mapping.rows("SELECT DISTINCT list, reason FROM exclusions")
    found = sorted({*images, *entries, *stored}, key=lambda pair: (pair[0], pair[1] or ""))
    return tuple(
        ExclusionCount(
            name, reason, entries.get((name, reason), 0) if name in given else None, images.get((name, reason), 0)
        )
        for name, reason in found
    )


def list_unmatched(mapping: Mapping) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return, by list, the entries given to this run that no record answers to; and names that some may stand for.

    Names are looked up for the first entries of each list that may be taxa.
    """
    unmatched: dict[str, list[str]] = {}
    nearest: dict[str, list[str]] = {}
    for name, entry, kind in mapping.rows(mapping.query("select_unmatched_exclusions")):
        entries = unmatched.setdefault(name, [])
        entries.append(entry)
        if kind in ("any", "taxon") and len(entries) <= _MOST_SUGGESTED:
            nearest[entry] = suggest_names(mapping, entry)
    return unmatched, {entry: names for entry, names in nearest.items() if names}


def digest_exclusions(mapping: Mapping) -> dict[str, str]:
    """Return 16 hex digits for each list in force, which change when what it names changes."""
    digests: dict[str, hashlib._Hash] = {}
    for rows in mapping.batches(mapping.query("select_exclusion_rules")):
        for name, rule in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            digests.setdefault(name, hashlib.sha256()).update(f"{rule}\n".encode())
    return {name: digest.hexdigest()[:16] for name, digest in digests.items()}
