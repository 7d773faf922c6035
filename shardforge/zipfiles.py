"""Reads a zip in place: its central directory, and single entries that are stored or deflated (PKWARE APPNOTE 6.3).

The directory is walked in a mapped file, entry by entry, so that a zip of millions of images takes no memory and no
image is touched.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

from shardforge import reasons
from shardforge.errors import DatasetError, ImageError
from shardforge.files import read_range
from shardforge.paths import path_to_text

STORED, DEFLATED = 0, 8
_ENCRYPTED = 1

_END = struct.Struct("<4s4HIIH")
_END_MARK = b"PK\5\6"
_LONGEST_COMMENT = 65_535
_LOCATOR = struct.Struct("<4sIQI")
_LOCATOR_MARK = b"PK\6\7"
_END64 = struct.Struct("<4sQ2H2I4Q")
_END64_MARK = b"PK\6\6"
_ENTRY = struct.Struct("<4s6H3I5H2I")
_ENTRY_MARK = b"PK\1\2"
_LOCAL = struct.Struct("<4s5H3I2H")
_LOCAL_MARK = b"PK\3\4"
_EXTRA = struct.Struct("<2H")
_ZIP64_EXTRA = 1
_IN_ZIP64 = 0xFFFFFFFF
_READ = 1 << 18


class ZipError(DatasetError):
    """A zip does not follow its format, or is cut off."""


class Entry(NamedTuple):
    """One file in a zip.

    Attributes:
        name: Its path in the zip, as text of `shardforge.paths`.
        offset: First byte of its local header.
        size: Bytes of it, unpacked.
        readable: Whether `read_entry` can read it: stored or deflated, and not encrypted.
    """

    name: str
    offset: int
    size: int
    readable: bool


def iter_entries(view: mmap) -> Iterator[Entry]:
    """Yield the files of the zip in `view` in the order of its directory; folders are passed over.

    Raises:
        ZipError: there is no directory where one should be.
    """
    position, count, shift = _find_directory(view)
    for _ in range(count):
        if view[position : position + 4] != _ENTRY_MARK or position + _ENTRY.size > len(view):
            raise ZipError(f"the directory of the zip is damaged at byte {position}")
        fields = _ENTRY.unpack_from(view, position)
        flags, method, packed, size = fields[3], fields[4], fields[8], fields[9]
        name_size, extra_size, comment_size, offset = *fields[10:13], fields[16]
        start = position + _ENTRY.size
        name = view[start : start + name_size]
        position = start + name_size + extra_size + comment_size
        if _IN_ZIP64 in (packed, size, offset):
            extra = view[start + name_size : start + name_size + extra_size]
            size, offset = _read_zip64(extra, size, packed, offset)
        if not name.endswith(b"/"):
            readable = method in (STORED, DEFLATED) and not flags & _ENCRYPTED
            yield Entry(path_to_text(name), offset + shift, size, readable)


def read_entry(fd: int, offset: int, size: int) -> bytes:
    """Return the `size` bytes of the entry whose local header is at `offset` of an open zip.

    Raises:
        ImageError: with the reason corrupt when there is no such entry, or its data are damaged.
    """
    header = read_range(fd, offset, _LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(_LOCAL_MARK):
        raise ImageError(f"no entry of a zip begins at byte {offset}; map again", reason=reasons.CORRUPT)
    fields = _LOCAL.unpack(header)
    start = offset + _LOCAL.size + fields[9] + fields[10]
    data = read_range(fd, start, size) if fields[3] == STORED else _inflate(fd, start, size)
    if len(data) != size:
        raise ImageError(f"the zip's entry at byte {offset} is damaged; unpack it anew", reason=reasons.CORRUPT)
    return data


def _inflate(fd: int, offset: int, size: int) -> bytes:
    """Return up to `size` unpacked bytes; nothing where the data are no deflate stream."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = bytearray()
    try:
        while len(data) < size and not inflater.eof and (block := read_range(fd, offset, _READ)):
            data += inflater.decompress(block, size - len(data))
            offset += len(block)
    except zlib.error:
        return b""
    return bytes(data)


def _find_directory(view: mmap) -> tuple[int, int, int]:
    """Return where the directory begins, how many entries it has, and how far the zip is from the file's start."""
    end = view.rfind(_END_MARK, max(0, len(view) - _END.size - _LONGEST_COMMENT))
    if end < 0 or end + _END.size > len(view):
        raise ZipError("the zip has no directory at its end: it is cut off, or no zip")
    count, size, offset = _END.unpack_from(view, end)[4:7]
    last = end
    locator = end - _LOCATOR.size
    if locator >= 0 and view[locator : locator + 4] == _LOCATOR_MARK:
        last = view.rfind(_END64_MARK, max(0, locator - _READ), locator)
        if last < 0:
            raise ZipError("the zip names a 64-bit directory that is not there")
        count, size, offset = _END64.unpack_from(view, last)[7:10]
    position = last - size
    if position < 0 or position < offset:
        raise ZipError("the directory of the zip is larger than the file: its start is missing")
    return position, count, position - offset


def _read_zip64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int]:
    """Return size and offset, from the 64-bit extra field where the entry itself has no room for them."""
    position = 0
    while position + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size
        if kind == _ZIP64_EXTRA:
            values = iter(struct.unpack_from(f"<{length // 8}Q", extra, position))
            wide = [next(values, value) if value == _IN_ZIP64 else value for value in (size, packed, offset)]
            return wide[0], wide[2]
        position += length
    return size, offset
