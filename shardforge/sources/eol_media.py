"""Tables of EOL's media: under which licence, whose, and from where each image is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from shardforge.errors import SourceError
from shardforge.sources.columns import find_column
from shardforge.sources.keyed import KeyedTable, read_numbers
from shardforge.sources.table_file import read_names, read_text

#: Column of the result -> its names in `media_manifest_*.csv` of EOL and in `licenses.csv` of TreeOfLife-10M.
_ALIASES = {
    "content_id": ("eol_content_id", "content_id"),
    "license": ("license_name", "license"),
    "author": ("copyright_owner", "owner"),
    "url": ("medium_source_url", "source_url"),
    "eol_full_size_copy_url": ("eol_full_size_copy_url",),
    "license_link": ("license_link",),
    "md5": ("md5",),
    "title": ("title",),
}
_KINDS = {
    "content_id": pa.int64(),
    **dict.fromkeys(("license", "author", "license_link"), pa.dictionary(pa.int32(), pa.string())),
}
_SCHEMA = pa.schema([(name, _KINDS.get(name, pa.string())) for name in _ALIASES])

#: The columns of the manifest's second file and those after it, which have no header.
_MANIFEST = (
    *("EOL content ID", "EOL page ID", "Medium Source URL", "EOL Full-Size Copy URL", "License Name"),
    "Copyright Owner",
)
_NOT_KNOWN = pa.array(["not provided"])


def read_media(files: Sequence[Path]) -> KeyedTable:
    """Return what the tables say about each content id; the first one that has an id counts.

    Raises:
        SourceError: a file is no table of media.
    """
    table = pa.concat_tables([_SCHEMA.empty_table(), *(batch for file in files for batch in _read_batches(file))])
    return KeyedTable(table["content_id"], table.drop(["content_id"]).unify_dictionaries())


def _read_batches(file: Path) -> Iterator[pa.Table]:
    header = read_names(file)
    names = _MANIFEST if len(header) == len(_MANIFEST) and header[0].isdecimal() else None
    columns = {target: find_column(names or header, aliases) for target, aliases in _ALIASES.items()}
    if columns["content_id"] is None or columns["license"] is None:
        raise SourceError(
            f"{file}: no columns of content ids and licences; expected a media manifest of EOL or licenses.csv of "
            f"TreeOfLife-10M, found {', '.join(header)}"
        )
    there = {target: name for target, name in columns.items() if name is not None}
    for table in read_text(file, list(there.values()), names):
        known = dict(zip(there, map(_blank_unknown, table.columns), strict=True))
        known["content_id"] = read_numbers(known["content_id"])
        missing = pa.nulls(len(table), pa.string())
        yield pa.table({name: known.get(name, missing) for name in _SCHEMA.names}).cast(_SCHEMA)


def _blank_unknown(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.is_in(column, _NOT_KNOWN), None, column)
