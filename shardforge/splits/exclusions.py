"""Exclusion lists: records that must not be written, named by key, path, file name, content hash or taxon.

A list stays in force for later runs until a file of the same name replaces it. Its rows in the table `exclusions`: an
entry that names records is a row with the key of each; a taxon is a row without key, beside a row for each of its
records, which every run renews.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from shardforge.errors import UsageError
from shardforge.mapping import Mapping
from shardforge.paths import path_to_text
from shardforge.records import RANKS

# Of several filled columns in a row, the first of these decides: what names one record stands before what names many.
_TAXA = (*reversed(RANKS), "taxon", "label")
_COLUMNS = {"key": "key", "path": "path", "content_hash": "content_hash", **dict.fromkeys(_TAXA, "taxon")}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASH_DIGITS = 32


@dataclass(frozen=True, slots=True)
class ExclusionCount:
    """The otherwise usable records that a list keeps out for one reason.

    `entries` is None for a list that an earlier run stored: its file was not given this time.
    """

    list: str
    reason: str | None
    entries: int | None
    images: int


class Entry(NamedTuple):
    """One entry of a list; `kind` is key, path, content_hash, taxon, or any when the file does not say."""

    text: str
    kind: str
    reason: str | None


def read_exclusions(path: Path) -> list[Entry]:
    """Return the distinct entries of a list: .csv and .tsv with a header, .json, or text with one entry per line.

    Raises:
        UsageError: the file cannot be read, or is not what its suffix says.
    """
    read = {".csv": _read_table, ".tsv": _read_table, ".json": _read_json}.get(path.suffix.lower(), _read_lines)
    try:
        return list(dict.fromkeys(read(path)))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name an existing exclusion list") from error
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise UsageError(
            f"{path}: not UTF-8 {path.suffix.lstrip('.') or 'text'} ({error}); mend the exclusion list"
        ) from error


def store_exclusions(mapping: Mapping, paths: list[Path]) -> None:
    """Replace the lists that are given, and renew what all lists in force keep out.

    Raises:
        UsageError: two files have the same stem, or one cannot be read.
    """
    names = [path.stem for path in paths]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UsageError(f"two exclusion lists are named '{twice[0]}'; a list is named by its file: rename one")
    mapping.execute(
        "CREATE TEMP TABLE entries (number BIGINT, list VARCHAR, entry VARCHAR, path VARCHAR, file_name VARCHAR,"
        " content_hash VARCHAR, kind VARCHAR, reason VARCHAR);"
        "CREATE TEMP TABLE matches (number BIGINT, key VARCHAR);"
    )
    first = 0
    for path in paths:
        entries = read_exclusions(path)
        mapping.insert("entries", _entry_rows(path.stem, entries, first))
        mapping.execute("DELETE FROM exclusions WHERE list = $list", list=path.stem)
        first += len(entries)
    if first:
        mapping.execute(mapping.query("match_exclusions"))
        mapping.execute(mapping.query("store_exclusions"))
    if mapping.rows("SELECT 1 FROM exclusions WHERE taxon IS NOT NULL LIMIT 1"):
        mapping.execute(mapping.query("expand_exclusions"))


def count_exclusions(mapping: Mapping, paths: list[Path]) -> tuple[ExclusionCount, ...]:
    """Return the records kept out, by list and reason, over all lists in force."""
    images = {(name, reason): count for name, reason, count in mapping.rows(mapping.query("count_exclusions"))}
    counted = mapping.rows("SELECT list, reason, count(*) FROM entries GROUP BY list, reason")
    entries = {(name, reason): count for name, reason, count in counted}
    given = {path.stem for path in paths}
    stored = mapping.rows("SELECT DISTINCT list, reason FROM exclusions")
    found = sorted({*images, *entries, *stored}, key=lambda pair: (pair[0], pair[1] or ""))
    return tuple(
        ExclusionCount(
            name, reason, entries.get((name, reason), 0) if name in given else None, images.get((name, reason), 0)
        )
        for name, reason in found
    )


def list_unmatched(mapping: Mapping) -> dict[str, list[str]]:
    """Return, by list, the entries given to this run that no record answers to."""
    unmatched: dict[str, list[str]] = {}
    for name, entry in mapping.rows(mapping.query("select_unmatched_exclusions")):
        unmatched.setdefault(name, []).append(entry)
    return unmatched


def digest_exclusions(mapping: Mapping) -> dict[str, str]:
    """Return 16 hex digits for each list in force, which change when what it names changes."""
    digests: dict[str, hashlib._Hash] = {}
    for rows in mapping.batches(mapping.query("select_exclusion_rules")):
        for name, rule in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            digests.setdefault(name, hashlib.sha256()).update(f"{rule}\n".encode())
    return {name: digest.hexdigest()[:16] for name, digest in digests.items()}


def _read_lines(path: Path) -> Iterator[Entry]:
    with open(path, encoding="utf-8-sig") as lines:
        for line in lines:
            text = line.strip()
            if text and not text.startswith("#"):
                yield Entry(text, "any", None)


def _read_json(path: Path) -> Iterator[Entry]:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    lists = content if isinstance(content, dict) else {None: content}
    for reason, entries in lists.items():
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise UsageError(
                f"{path}: an exclusion list in JSON is a list of texts, or an object of such lists by reason"
            )
        yield from (Entry(entry.strip(), "any", reason) for entry in entries if entry.strip())


def _read_table(path: Path) -> Iterator[Entry]:
    with open(path, encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        columns = [name for name in _COLUMNS if name in (rows.fieldnames or ())]
        if not columns:
            raise UsageError(
                f"{path}: the header names none of {', '.join(_COLUMNS)}; name the column that holds the entries"
            )
        for row in rows:
            filled = ((name, (row[name] or "").strip()) for name in columns)
            name, text = next(((name, text) for name, text in filled if text), (None, ""))
            if name:
                yield Entry(text, _COLUMNS[name], (row.get("reason") or "").strip() or None)


def _entry_rows(name: str, entries: list[Entry], first: int) -> pa.Table:
    """Return the rows of the temporary table `entries`, numbered from `first`."""
    paths = [path_to_text(entry.text) for entry in entries]
    columns = {
        "list": [name] * len(entries),
        "entry": [entry.text for entry in entries],
        "path": paths,
        "file_name": [path.rpartition("/")[2] for path in paths],
        "content_hash": [_shorten_hash(entry.text) for entry in entries],
        "kind": [entry.kind for entry in entries],
        "reason": [entry.reason for entry in entries],
    }
    numbers = pa.array(range(first, first + len(entries)), pa.int64())
    return pa.table({"number": numbers, **{name: pa.array(values, pa.string()) for name, values in columns.items()}})


def _shorten_hash(text: str) -> str:
    """Return the digits of a SHA-256 that a mapping keeps."""
    text = text.lower()
    return text[:_HASH_DIGITS] if _SHA256.fullmatch(text) else text
