"""Read what the files themselves say about images: size in pixels, format, orientation, hash of the bytes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter

import pyarrow as pa

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.header import read_file_header, read_whole_header
from shardforge.records import HASH_DIGITS, SCANNED, record_schema
from shardforge.sources.reading import file_path, in_zip
from shardforge.zipfiles import read_entry

_BLOCK = 1 << 20

# What is listed: file, offset, bytes, reason. What a scan adds: the columns of SCANNED, then the reason.
_Image = tuple[bytes, int | None, int, str | None]
_Row = tuple[int | None, int | None, str | None, int | None, str | None, str | None]


@dataclass(frozen=True)
class ScanTask:
    """Listed images of one source, to be read.

    Attributes:
        root: The folder that their paths start from.
        change: Why they are read: new, changed or unread (see sql/insert_changes.sql).
        rows: A table of `shardforge.records.listing_schema()`.
        hash_content: Whether all bytes are read and hashed, or the header alone.
    """

    root: str
    change: str
    rows: pa.Table
    hash_content: bool

    def __repr__(self) -> str:
        return f"{self.rows.num_rows} images of {self.root} from {self.rows['path'][0]}"


def scan_part(task: ScanTask) -> pa.Table:
    """Return every row of the task as a record of `record_schema()`; one that cannot be used has its reason.

    Rows that were listed with a reason come back as they are: there is nothing to read.
    """
    block = memoryview(bytearray(_BLOCK)) if task.hash_content else None
    path, offset, size, reason = (task.rows[name].to_pylist() for name in ("path", "offset", "bytes", "reason"))
    files = map(partial(file_path, os.fsencode(task.root)), path, offset)
    found: list[_Row] = []
    for file, images in groupby(zip(files, offset, size, reason, strict=True), itemgetter(0)):
        found.extend(_scan_file(file, list(images), block))
    scanned = dict(zip((*SCANNED, "reason"), zip(*found, strict=True), strict=True))
    schema = record_schema()
    arrays = [
        pa.array(scanned[name], schema.field(name).type) if name in scanned else task.rows[name]
        for name in schema.names
    ]
    return pa.table(arrays, schema=schema)


def _scan_file(file: bytes, images: list[_Image], block: memoryview | None) -> list[_Row]:
    """Read an image, or all of an archive's, with the file opened once."""
    if all(reason for *_, reason in images):
        return [_bad(reason) for *_, reason in images]
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        found = reasons.VANISHED if gone else reasons.UNREADABLE
        return [_bad(reason or found) for *_, reason in images]
    zipped = in_zip(file) and images[0][1] is not None
    scan = _scan_entry if zipped else _scan_image
    try:
        return [_bad(reason) if reason else scan(fd, size, offset or 0, block) for _, offset, size, reason in images]
    finally:
        os.close(fd)


def _scan_image(fd: int, size: int, offset: int, block: memoryview | None) -> _Row:
    """Read the header; with `block`, a buffer, hash the bytes too."""
    try:
        header = read_file_header(fd, size, offset)
        content_hash = None if block is None else _hash_content(fd, size, offset, block)
    except ImageError as error:
        return _bad(error.reason)
    except OSError:
        return _bad(reasons.UNREADABLE)
    return header.width, header.height, header.format, header.orientation, content_hash, None


def _scan_entry(fd: int, size: int, offset: int, block: memoryview | None) -> _Row:
    """Read an image out of a zip, whole, since it may be compressed there; with `block` hash it too."""
    try:
        data = read_entry(fd, offset, size)
        header = read_whole_header(data)
    except ImageError as error:
        return _bad(error.reason)
    except OSError:
        return _bad(reasons.UNREADABLE)
    content_hash = None if block is None else hashlib.sha256(data).hexdigest()[:HASH_DIGITS]
    return header.width, header.height, header.format, header.orientation, content_hash, None


def _bad(reason: str | None) -> _Row:
    return None, None, None, None, None, reason


def _hash_content(fd: int, size: int, offset: int, block: memoryview) -> str:
    digest = hashlib.sha256()
    done = 0
    while done < size:
        read = os.preadv(fd, [block[: size - done]], offset + done)
        if read == 0:
            raise ImageError("the file is shorter than it was when it was listed", reason=reasons.CHANGED)
        digest.update(block[:read])
        done += read
    return digest.hexdigest()[:HASH_DIGITS]
