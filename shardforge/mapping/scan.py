"""Read what the files themselves say about images: size in pixels, format, orientation, hash of the bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, groupby
from operator import itemgetter
from typing import NamedTuple

import pyarrow as pa

from shardforge import reasons
from shardforge.errors import ImageError, TaskError
from shardforge.executors.items import begin_item
from shardforge.files import open_regular
from shardforge.images.header import Header, read_file_header, read_whole_header
from shardforge.records import HASH_DIGITS, SCANNED, scan_schema
from shardforge.sources.reading import file_path, in_zip
from shardforge.zipfiles import read_entry

_BLOCK = 1 << 20


@dataclass(frozen=True)
class ScanTask:
    """Listed images of one source, to be read.

    Attributes:
        root: The folder that their paths start from.
        change: Why they are read: new, changed or unread (see sql/insert_changes.sql).
        rows: A table of `shardforge.records.listing_schema()`, and `was`: the reason so far.
        hash_content: Whether all bytes are read and hashed, or the header alone.
    """

    root: str
    change: str
    rows: pa.Table
    hash_content: bool

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def part(self, first: int, end: int) -> ScanTask:
        """Return the task of some of the images."""
        return replace(self, rows=self.rows.slice(first, end - first))

    def __repr__(self) -> str:
        return f"{self.rows.num_rows} images of {self.root} from {self.rows['path'][0]}"


class _Listed(NamedTuple):
    """What a source lists of an image."""

    file: bytes
    offset: int | None
    size: int
    reason: str | None
    note: str | None


class _Scanned(NamedTuple):
    """What a scan adds: the columns of `SCANNED`, why the image cannot be used, and what else is to be said of it."""

    width: int | None = None
    height: int | None = None
    format: str | None = None
    orientation: int | None = None
    content_hash: str | None = None
    reason: str | None = None
    note: str | None = None


#: Reads the image of that size at that offset of an open file.
_Read = Callable[[int, int, int, memoryview | None], _Scanned]


def scan_part(task: ScanTask) -> pa.Table:
    """Return every row of the task as a record of `scan_schema()`; one that cannot be used has its reason, and a note.

    Rows that were listed with a reason come back as they are: there is nothing to read. Whatever is raised while an
    image is read is that image's reason.
    """
    block = memoryview(bytearray(_BLOCK)) if task.hash_content else None
    path, offset, size, reason, note = (task.rows[name].to_pylist() for name in ("path", "offset", "bytes", *_SAID))
    files = map(partial(file_path, os.fsencode(task.root)), path, offset)
    listed = map(_Listed, files, offset, size, reason, note)
    numbers = count()
    found = [
        row for file, images in groupby(listed, itemgetter(0)) for row in _scan_file(file, [*images], block, numbers)
    ]
    return _join(task.rows, found)


def failed_record(task: ScanTask, error: TaskError) -> pa.Table:
    """Return the record of the only image of a task, which makes it fail."""
    reason, note = reasons.explain_failure(error, task.rows["was"][0].as_py())
    return _join(task.rows, [_Scanned(reason=reason, note=note)])


_SAID = ("reason", "note")


def _join(rows: pa.Table, found: list[_Scanned]) -> pa.Table:
    """Return what was listed and what was found as one table."""
    scanned = dict(zip((*SCANNED, *_SAID), zip(*found, strict=True), strict=True))
    schema = scan_schema()
    arrays = [
        pa.array(scanned[name], schema.field(name).type) if name in scanned else rows[name] for name in schema.names
    ]
    return pa.table(arrays, schema=schema)


def _scan_file(file: bytes, images: list[_Listed], block: memoryview | None, numbers: Iterator[int]) -> list[_Scanned]:
    """Read an image, or all of an archive's, with the file opened once."""
    fd, why = -1, _Scanned()
    if not all(image.reason for image in images):
        try:
            fd = open_regular(file)
        except OSError as error:
            gone = isinstance(error, FileNotFoundError | NotADirectoryError)
            why = _Scanned(reason=reasons.VANISHED if gone else reasons.UNREADABLE, note=error.strerror)
    read = _read_entry if in_zip(file) and images[0].offset is not None else _read_image
    found = []
    try:
        for image, number in zip(images, numbers, strict=False):  # images first: a number more would be lost
            begin_item(number)
            if image.reason:
                found.append(_Scanned(reason=image.reason, note=image.note))
            else:
                found.append(_scan(read, fd, image, block) if fd >= 0 else why)
    finally:
        if fd >= 0:
            os.close(fd)
    return found


def _scan(read: _Read, fd: int, image: _Listed, block: memoryview | None) -> _Scanned:
    """Read an image; what is wrong with it, whatever that is, becomes its reason."""
    try:
        return read(fd, image.size, image.offset or 0, block)
    except ImageError as error:
        return _Scanned(reason=error.reason, note=str(error))
    except OSError as error:
        return _Scanned(reason=reasons.UNREADABLE, note=error.strerror)
    except MemoryError:
        return _Scanned(reason=reasons.OUT_OF_MEMORY)
    except ImportError:  # no fault of the image
        raise
    except Exception as error:
        return _Scanned(reason=reasons.INTERNAL_ERROR, note=f"{type(error).__name__}: {error}")


def _read_image(fd: int, size: int, offset: int, block: memoryview | None) -> _Scanned:
    """Read the header; with `block`, a buffer, hash the bytes too."""
    header = read_file_header(fd, size, offset)
    return _describe(header, None if block is None else _hash_content(fd, size, offset, block))


def _read_entry(fd: int, size: int, offset: int, block: memoryview | None) -> _Scanned:
    """Read an image out of a zip, whole, since it may be compressed there; with `block` hash it too."""
    data = read_entry(fd, offset, size)
    header = read_whole_header(data)
    return _describe(header, None if block is None else hashlib.sha256(data).hexdigest()[:HASH_DIGITS])


def _describe(header: Header, content_hash: str | None) -> _Scanned:
    note = "; ".join(header.notes) or None
    return _Scanned(header.width, header.height, header.format, header.orientation, content_hash, note=note)


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
