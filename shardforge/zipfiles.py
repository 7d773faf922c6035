"""Reads a zip in place: its central directory, and single entries that are stored or deflated (PKWARE APPNOTE 6.3).

The directory is walked entry by entry, so that a zip of millions of images takes no memory and no image is touched.
What an entry says of itself is held against the file before anything is read or kept because of it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from shardforge import reasons
from shardforge.errors import DatasetError, ImageError
from shardforge.files import FileView, read_range
from shardforge.paths import path_to_text
from shardforge.samples import MOST_IMAGE

STORED, DEFLATED = 0, 8
_ENCRYPTED, _SIZES_BEHIND = 1, 8
_UNIX = 3
_LINK, _KIND_OF_FILE = 0o120000, 0o170000

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
#: What a byte of a deflate stream can stand for at most.
_MOST_RATIO = 1032


class ZipError(DatasetError):
    """A zip does not follow its format, or is cut off."""


class Entry(NamedTuple):
    """One file in a zip.

    Attributes:
        name: Its path in the zip, as text of `shardforge.paths`.
        offset: First byte of its local header, 0 where it says one outside the zip.
        size: Bytes of it, unpacked; 0 where it says more than its bytes can hold.
        reason: Why `read_entry` cannot read it: a code of `shardforge.reasons`, None where it can.
    """

    name: str
    offset: int
    size: int
    reason: str | None = None


def iter_entries(view: FileView) -> Iterator[Entry]:
    """Yield the files of the zip in `view` in the order of its directory; folders are passed over.

    Raises:
        ZipError: there is no directory where one should be, or it is damaged, or entries overlap, so that the same
            bytes would be unpacked again and again; entries before that were yielded.
    """
    position, end, count, shift = _find_directory(view)
    found, room = 0, position
    while position < end:
        entry = view[position : position + _ENTRY.size]
        if not entry.startswith(_ENTRY_MARK) or position + _ENTRY.size > end:
            raise ZipError(f"the directory of the zip is damaged at byte {position}")
        fields = _ENTRY.unpack(entry)
        start = position + _ENTRY.size
        position = start + sum(fields[10:13])
        if position > end:
            raise ZipError(f"the directory of the zip ends inside an entry, at byte {end}")
        found += 1
        name, extra = view[start : start + fields[10]], view[start + fields[10] : start + fields[10] + fields[11]]
        if name.endswith(b"/"):
            continue
        size, packed, offset = _read_sizes(extra, fields)
        reason = _why_unreadable(fields, size, packed, offset + shift, len(view))
        if reason is None and (room := room - packed - _LOCAL.size) < 0:
            raise ZipError(f"the entries of the zip overlap: up to byte {position} of its directory they fill it twice")
        told = (0, 0) if reason == reasons.CORRUPT else (offset + shift, size)
        yield Entry(path_to_text(name.partition(b"\0")[0]), *told, reason)
    if (found - count) & 0xFFFF:  # many write the count modulo 2^16
        raise ZipError(f"the directory of the zip has {found} entries and says {count}")


def read_entry(fd: int, offset: int, size: int) -> bytes:
    """Return the `size` bytes of the entry whose local header is at `offset` of an open zip.

    Raises:
        ImageError: with the reason corrupt when there is no such entry, or its data are damaged; with too_costly when
            they are more than an image may have.
    """
    if size > MOST_IMAGE:
        raise ImageError(f"{size:,} bytes are more than {MOST_IMAGE:,}; unpack the zip", reason=reasons.TOO_COSTLY)
    header = read_range(fd, offset, _LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(_LOCAL_MARK):
        raise ImageError(f"no entry of a zip begins at byte {offset}; map again", reason=reasons.CORRUPT)
    fields = _LOCAL.unpack(header)
    start = offset + _LOCAL.size + fields[9] + fields[10]
    data = read_range(fd, start, size) if fields[3] == STORED else _inflate(fd, start, size)
    checksum = 0 if fields[2] & _SIZES_BEHIND else fields[6]  # the directory alone has it then
    if len(data) != size or (checksum and zlib.crc32(data) != checksum):
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


def _find_directory(view: FileView) -> tuple[int, int, int, int]:
    """Return where the directory begins and ends, how many entries it says, and how far the zip is from byte 0."""
    first = max(0, len(view) - _END.size - _LONGEST_COMMENT - _LOCATOR.size)
    tail = view[first : len(view)]
    end = tail.rfind(_END_MARK)
    if end < 0 or end + _END.size > len(tail):
        raise ZipError("the zip has no directory at its end: it is cut off, or no zip")
    count, size, offset = _END.unpack_from(tail, end)[4:7]
    last = first + end
    locator = tail[max(0, end - _LOCATOR.size) : end]
    if locator.startswith(_LOCATOR_MARK):
        last -= _LOCATOR.size
        before = view[max(0, last - _READ) : last]
        place = before.rfind(_END64_MARK)
        if place < 0 or place + _END64.size > len(before):
            raise ZipError("the zip names a 64-bit directory that is not there")
        count, size, offset = _END64.unpack_from(before, place)[7:10]
        last += place - len(before)
    position = last - size
    if position < 0 or position < offset:
        raise ZipError("the directory of the zip is larger than the file: its start is missing")
    return position, last, count, position - offset


def _read_sizes(extra: bytes, fields: tuple[int, ...]) -> tuple[int, int, int]:
    """Return size, packed size and offset, from the 64-bit extra field where the entry itself has no room for them."""
    numbers = (fields[9], fields[8], fields[16])
    position = 0 if _IN_ZIP64 in numbers else len(extra)
    while position + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size
        if kind == _ZIP64_EXTRA:
            values = extra[position : position + length]
            wide = (number for (number,) in struct.iter_unpack("<Q", values[: len(values) // 8 * 8]))
            size, packed, offset = [next(wide, number) if number == _IN_ZIP64 else number for number in numbers]
            return size, packed, offset
        position += length
    return numbers


def _why_unreadable(fields: tuple[int, ...], size: int, packed: int, offset: int, end: int) -> str | None:
    """Return why an entry cannot be read: what it says cannot be true, it is no file, or needs what is not here."""
    if offset + _LOCAL.size + packed > end or max(size, packed) >= 1 << 63:
        return reasons.CORRUPT
    if fields[1] >> 8 == _UNIX and fields[15] >> 16 & _KIND_OF_FILE == _LINK:
        return reasons.LINK
    if fields[4] not in (STORED, DEFLATED) or fields[3] & _ENCRYPTED:
        return reasons.COMPRESSED
    if size > (packed if fields[4] == STORED else packed * _MOST_RATIO):
        return reasons.CORRUPT
    return reasons.TOO_COSTLY if size > MOST_IMAGE else None
