"""The columns of a record, in the order in which every part of the pipeline passes them on.

A record is one image as a source lists it (`LISTED`) plus what reading its header and bytes adds (`SCANNED`). Records
travel in batches as `pyarrow.Table`s of `record_schema()`, never as one Python object per image.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

#: The seven ranks, highest first.
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")

#: What a source may know about an image besides its bytes. Any other column goes into `metadata`, a JSON object.
DESCRIPTIVE = ("label", "group_id", *RANKS, "common_name", "license", "author", "url", "metadata")

#: What a source lists: where the image is and what is known about it. `path` is relative to the source's root (see
#: `shardforge.paths`); `offset` is the first byte of the image inside a tar or HDF5 file, or of its header inside a
#: zip, null for a plain file; `mtime` is in ns.
LISTED = ("key", "source", "path", "offset", "bytes", "mtime", *DESCRIPTIVE, "reason")

#: What a scan adds: pixels as stored (before EXIF orientation), `format` as Pillow names it in lower case ("jpeg",
#: "png", "webp", …), EXIF orientation 1 to 8, and the first `HASH_DIGITS` hex digits of the SHA-256 of the bytes.
SCANNED = ("width", "height", "format", "orientation", "content_hash")
#: What is wrong with a record, or odd about it, in words: no column of the mapping's images but a row of its notes.
NOTE = "note"
HASH_DIGITS = 32

_INT64 = frozenset({"offset", "bytes", "mtime"})
_INT32 = frozenset({"width", "height", "orientation"})


@cache
def listing_schema() -> pa.Schema:
    """Return the Arrow schema of what `Source.list` yields: the columns of `LISTED`, and a note."""
    return _schema((*LISTED, NOTE))


@cache
def record_schema() -> pa.Schema:
    """Return the Arrow schema of a scanned record: the listing's columns, then `SCANNED`."""
    return _schema(LISTED + SCANNED)


@cache
def scan_schema() -> pa.Schema:
    """Return the Arrow schema of what a scan returns: the columns of a record, and a note."""
    return _schema((*LISTED, *SCANNED, NOTE))


def _schema(names: tuple[str, ...]) -> pa.Schema:
    import pyarrow as pa

    types = {name: pa.int64() if name in _INT64 else pa.int32() if name in _INT32 else pa.string() for name in names}
    return pa.schema(list(types.items()))
