"""Which records the entries of exclusion lists name, tried from what names one record to what names many."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from shardforge.mapping import Mapping
from shardforge.mapping.ranks import rank_name_sql
from shardforge.paths import encode_path, path_to_text
from shardforge.records import HASH_DIGITS, RANKS
from shardforge.sources.written_paths import plain_path, read_slashes
from shardforge.splits.exclusion_lists import Entry, ExclusionList
from shardforge.splits.names import compare_labels, compare_taxa, read_taxon, species_keys

#: Fields of `metadata` in which sources keep the id that an image has with its provider.
ID_FIELDS = ("eol_content_id", "image_id", "processid", "sampleid", "id", "uuid")

_SHA256 = re.compile(r"[0-9a-f]{64}")
#: Files of the Encyclopedia of Life are named by content, page and size: 28861_491995_eol-full-size-copy.jpg.
_EOL_FILE = re.compile(r"([0-9]+)_[0-9]+_eol")

# What remains of a path, or of the name of a member in an archive, when all but '/' is cut off at the end.
_FILE_NAMES = (
    "SELECT key, substr(path, length(rtrim(path, replace(path, '/', ''))) + 1) AS value"
    " FROM (SELECT key, replace(path, '::', '/') AS path FROM images) AS slashed"
)
_ROOTED_PATHS = "SELECT i.key, s.root || '/' || i.path AS value FROM images AS i JOIN sources AS s ON s.name = i.source"
_DIGITS = "'0123456789'"
# The content id in a file name of EOL, as in _EOL_FILE, or a file name less its suffix.
_FILE_IDS = (
    f"SELECT key, CASE WHEN value GLOB '[0-9]*' AND ltrim(value, {_DIGITS}) GLOB '_[0-9]*'"
    f" AND ltrim(substr(ltrim(value, {_DIGITS}), 2), {_DIGITS}) GLOB '_eol*'"
    " THEN substr(value, 1, instr(value, '_') - 1) WHEN instr(value, '.') = 0 THEN value"
    " ELSE substr(value, 1, length(rtrim(value, replace(value, '.', ''))) - 1) END AS value"
    f" FROM ({_FILE_NAMES}) AS named"
)
# Texts and whole numbers; of a number the digits as they are written, which SQLite would round to a double.
_METADATA_IDS = " UNION ALL ".join(
    f"SELECT key, CASE WHEN json LIKE '\"%' THEN text WHEN ltrim(json, {_DIGITS}) = '' THEN json END AS value FROM"
    f" (SELECT key, CAST(metadata -> '$.{field}' AS VARCHAR) AS json, metadata ->> '$.{field}' AS text"
    f" FROM images WHERE metadata LIKE '%\"{field}\"%') AS named"
    for field in ID_FIELDS
)
#: Each step: the kinds of entry, the records' values, and the column of `entries` that these are compared with.
_STEPS = (
    ("'any', 'key'", "SELECT key, key AS value FROM images", "entry"),
    ("'any', 'path'", "SELECT key, path AS value FROM images", "path"),
    ("'any', 'path'", _ROOTED_PATHS, "path"),
    ("'any', 'path'", "SELECT key, path AS value FROM images", "plain_path"),
    ("'any', 'path'", _ROOTED_PATHS, "plain_path"),
    ("'any', 'path'", _FILE_NAMES, "file_name"),
    ("'any', 'content_hash'", "SELECT key, content_hash AS value FROM images", "content_hash"),
    ("'any', 'path', 'id'", _FILE_IDS, "id"),
    ("'any', 'path', 'id'", _METADATA_IDS, "id"),
)
_SUGGESTED = 3
_MOST_CANDIDATES = 2_000


def load_entries(mapping: Mapping, lists: Sequence[ExclusionList]) -> int:
    """Fill the temporary table `entries` with those of all lists; return their number."""
    mapping.execute(
        "CREATE TEMP TABLE entries (number BIGINT, list VARCHAR, entry VARCHAR, path VARCHAR, plain_path VARCHAR,"
        " file_name VARCHAR, content_hash VARCHAR, id VARCHAR, kind VARCHAR, reason VARCHAR);"
        "CREATE TEMP TABLE matches (number BIGINT, key VARCHAR);"
    )
    first = 0
    for one in lists:
        entries = one.read()
        mapping.insert("entries", _entry_rows(one.name, entries, first))
        first += len(entries)
    return first


def match_records(mapping: Mapping) -> None:
    """Fill `matches` with the records that entries name by key, path, file name, content hash or id.

    The first of these that finds something decides; where several records have it, all are meant.
    """
    for kinds, records, column in _STEPS:
        waiting = f"kind IN ({kinds}) AND {column} IS NOT NULL AND number NOT IN (SELECT number FROM matches)"
        if mapping.rows(f"SELECT 1 FROM entries WHERE {waiting} LIMIT 1"):
            mapping.execute(mapping.query("match_exclusions").format(records=records, column=column, kinds=kinds))


def match_taxa(mapping: Mapping) -> None:
    """Renew the rows of `exclusions` for the records of excluded taxa, by label and by every rank."""
    rules = mapping.rows("SELECT DISTINCT taxon FROM exclusions WHERE key IS NULL AND taxon IS NOT NULL")
    mapping.execute("DELETE FROM exclusions WHERE key IS NOT NULL AND taxon IS NOT NULL")
    if not rules:
        return
    mapping.execute(
        "CREATE TEMP TABLE known_names (value VARCHAR, name VARCHAR);"
        "CREATE TEMP TABLE excluded_names (taxon VARCHAR, name VARCHAR);"
    )
    mapping.insert("known_names", _known_names(mapping))
    taxa = pa.array([taxon for (taxon,) in rules], pa.string())
    names = pa.array([read_taxon(taxon) for (taxon,) in rules], pa.string())
    mapping.insert("excluded_names", _name_rows("taxon", taxa, compare_taxa(names), compare_labels(names)))
    mapping.execute(mapping.query("expand_exclusions").format(species=rank_name_sql("species")))


def suggest_names(mapping: Mapping, entry: str) -> list[str]:
    """Return the names in the mapping that are nearest to one that no record has, best first; needs `match_taxa`.

    Only names that begin alike or end in the same word are looked at, so that a mistake in a long list costs little.
    """
    name = compare_labels(pa.array([read_taxon(entry)]))[0].as_py()
    rows = mapping.rows(
        mapping.query("select_near_names"),
        name=name,
        start=name[:3],
        end=f" {name.rpartition(' ')[2]}",
        most=_MOST_CANDIDATES,
    )
    values: dict[str, str] = dict(rows)
    return [values[near] for near in difflib.get_close_matches(name, values, _SUGGESTED, cutoff=0.75)]


def _known_names(mapping: Mapping) -> pa.Table:
    """Return the distinct labels and names of taxa of usable records, as they are written and as they are compared."""
    columns = ("label", *RANKS)
    names = ", ".join(rank_name_sql(rank) for rank in RANKS)
    seen: dict[str, list[pa.Array]] = {column: [] for column in columns}
    for batch in mapping.batches(f"SELECT DISTINCT label, {names} FROM images WHERE reason IS NULL"):
        for column, values in zip(columns, batch.columns, strict=True):
            seen[column].append(pc.unique(values.cast(pa.string())))
    tables = []
    for column, arrays in seen.items():
        values = pc.drop_null(pc.unique(pa.chunked_array(arrays, pa.string())))
        tables.append(_name_rows("value", values, *_compare_column(column, values)))
    return pa.concat_tables(tables).group_by(["value", "name"]).aggregate([])


def _compare_column(column: str, values: pa.Array) -> list[pa.Array]:
    """Return what labels or names are compared by; a subspecies also by the name of its species."""
    if column == "label":
        return [compare_labels(values)]
    keys = compare_taxa(values)
    return [keys, species_keys(values, keys)] if column == "species" else [keys]


def _name_rows(column: str, values: pa.Array, *compared: pa.Array) -> pa.Table:
    """Return a row for each value and each different thing that it is compared by."""
    rows = pa.concat_tables(pa.table({column: values, "name": names}) for names in compared)
    return rows.filter(pc.is_valid(rows["name"])).group_by([column, "name"]).aggregate([])


def _entry_rows(name: str, entries: list[Entry], first: int) -> pa.Table:
    """Return the rows of the temporary table `entries`, numbered from `first`."""
    paths = [path_to_text(entry.text) for entry in entries]
    plain = [_spell_plainly(entry.text) for entry in entries]
    columns = {
        "list": [name] * len(entries),
        "entry": [entry.text for entry in entries],
        "path": paths,
        "plain_path": [other if other != path else None for path, other in zip(paths, plain, strict=True)],
        "file_name": [entry.text.replace("\\", "/").rpartition("/")[2] for entry in entries],
        "content_hash": [_shorten_hash(entry.text) for entry in entries],
        "id": [_read_id(entry) for entry in entries],
        "kind": [entry.kind for entry in entries],
        "reason": [entry.reason for entry in entries],
    }
    numbers = pa.array(range(first, first + len(entries)), pa.int64())
    return pa.table({"number": numbers, **{name: pa.array(values, pa.string()) for name, values in columns.items()}})


def _spell_plainly(text: str) -> str:
    """Return the plain spelling of an entry that is a path: that with slashes, without `.`, `..` and empty parts."""
    return plain_path(path_to_text(read_slashes(encode_path(text)))) if text else text


def _shorten_hash(text: str) -> str:
    """Return the digits of a SHA-256 that a mapping keeps."""
    text = text.lower()
    return text[:HASH_DIGITS] if _SHA256.fullmatch(text) else text


def _read_id(entry: Entry) -> str | None:
    """Return the id of an image with its provider: the content id in a file name of EOL, or a text that is no path."""
    eol = _EOL_FILE.match(entry.text.rpartition("/")[2])
    return eol[1] if eol else None if entry.kind == "path" else entry.text
