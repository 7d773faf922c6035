"""Zips: `shardforge.zipfiles`, against Python's `zipfile`."""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
import zlib
from random import Random

from fuzzing.target import Target, require

from shardforge.errors import ImageError
from shardforge.files import FileView
from shardforge.zipfiles import Entry, ZipError, iter_entries, read_entry

_HANDLE = os.memfd_create("zip")
_MOST_ENTRIES = 20
_LOCAL = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")
#: Marks of headers, and where their fields begin.
_HEADERS = (
    (b"PK\3\4", (4, 6, 8, 14, 18, 22, 26, 28, 30)),
    (b"PK\1\2", (4, 5, 8, 10, 16, 20, 24, 28, 30, 32, 34, 36, 38, 40, 42, 46)),
    (b"PK\5\6", (4, 6, 8, 10, 12, 16, 20)),
    (b"PK\6\6", (4, 12, 24, 32, 40, 48)),
    (b"PK\6\7", (4, 8, 16)),
)
_NUMBERS = (
    0,
    1,
    2,
    8,
    9,
    12,
    14,
    255,
    0xFFFF,
    0xFFFFFFFF,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
    1 << 30,
    (1 << 30) + 1,
)


def make_seeds() -> list[bytes]:
    stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    seeds = [make_zip(kind, wide=wide) for kind in (stored, deflated, zipfile.ZIP_BZIP2) for wide in (False, True)]
    return [*seeds, b"#!/bin/sh\n" + make_zip(stored, wide=False), make_zip(stored, wide=False, comment=b"PK\5\6")]


def make_zip(kind: int, *, wide: bool, comment: bytes = b"") -> bytes:
    """Return a zip with a folder and a link; with `wide` in the form of those beyond 4 GiB."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", kind) as archive:
        archive.comment = comment
        archive.writestr("folder/", b"")
        archive.writestr("folder/é.txt", b"one " * 40)
        with archive.open("b.jpg", "w", force_zip64=wide) as member:
            member.write(bytes(range(200)))
        link = zipfile.ZipInfo("link.jpg")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, b"b.jpg")
    data = held.getvalue()
    return widen(data) if wide else data


def widen(data: bytes) -> bytes:
    """Return a zip without a comment with a 64-bit end of its directory."""
    count, size, offset = struct.unpack("<HII", data[-12:-2])
    end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(data) - 22, 1)
    return (
        data[:-22] + end + locator + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *([0xFFFF] * 2), *([0xFFFFFFFF] * 2), 0)
    )


def mend(data: bytes) -> bytes:
    """Return a zip with the CRC-32s and the counts that its bytes have, as far as they can be followed."""
    whole = bytearray(data)
    end, first = whole.rfind(b"PK\5\6"), whole.find(b"PK\1\2")
    if end < 0 or first < 0 or end + 22 > len(whole):
        return data
    place = first
    count = 0
    while whole[place : place + 4] == b"PK\1\2" and place + _ENTRY.size <= end:
        fields = _ENTRY.unpack_from(whole, place)
        _mend_entry(whole, place, fields)
        place += _ENTRY.size + sum(fields[10:13])
        count += 1
    if whole[max(0, end - 20) : end][:4] != b"PK\6\7":
        struct.pack_into("<2HII", whole, end + 8, count & 0xFFFF, count & 0xFFFF, max(0, end - first), first)
    return bytes(whole)


def _mend_entry(whole: bytearray, place: int, fields: tuple[int, ...]) -> None:
    """Give an entry and its local header the CRC-32 of what they lead to."""
    offset, packed, kind = fields[16], fields[8], fields[4]
    if whole[offset : offset + 4] != b"PK\3\4" or offset + _LOCAL.size > len(whole):
        return
    local = _LOCAL.unpack_from(whole, offset)
    start = offset + _LOCAL.size + local[9] + local[10]
    content = bytes(whole[start : start + packed])
    if kind == zipfile.ZIP_DEFLATED:
        try:
            content = zlib.decompressobj(-15).decompress(content, 1 << 20)
        except zlib.error:
            return
    struct.pack_into("<I", whole, place + 16, zlib.crc32(content))
    struct.pack_into("<I", whole, offset + 14, zlib.crc32(content))


def vary(data: bytes, random: Random) -> bytes:
    """Return a zip with another number in one of its headers."""
    kind = random.choice(_HEADERS)
    places = [match.start() for match in re.finditer(re.escape(kind[0]), data)]
    if not places:
        return data
    place = random.choice(places) + random.choice(kind[1])
    size = random.choice((1, 2, 4, 8))
    value = random.choice((*_NUMBERS, len(data), random.randrange(len(data)))) & ((1 << 8 * size) - 1)
    return (data[:place] + value.to_bytes(size, "little") + data[place + size :])[: len(data)]


def check(data: bytes) -> None:
    os.ftruncate(_HANDLE, 0)
    os.pwrite(_HANDLE, data, 0)
    entries: list[Entry] = []
    whole = True
    try:
        for entry in iter_entries(FileView(_HANDLE, ahead=len(data) % 300)):
            entries.append(entry)
            entry.name.encode()
            require(0 <= entry.offset <= len(data) and entry.size >= 0, entry)
    except ZipError:
        whole = False
    contents = {}
    for entry in [entry for entry in entries if entry.reason is None][:_MOST_ENTRIES]:
        try:
            contents[entry] = read_entry(_HANDLE, entry.offset, entry.size)
        except ImageError:
            continue
        require(len(contents[entry]) == entry.size, entry)
    if whole:
        compare(data, contents)


def compare(data: bytes, contents: dict[Entry, bytes]) -> None:
    """Compare entries with what `zipfile` reads, where both do and the local header has a CRC-32, too."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        infos = {info.header_offset: info for info in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OSError):
        return
    for entry, content in contents.items():
        local = _LOCAL.unpack(data[entry.offset : entry.offset + _LOCAL.size])
        info = infos.get(entry.offset)
        if info is None or info.file_size != entry.size or local[2] & 8 or not local[6]:
            continue
        try:
            with archive.open(info) as member:
                theirs = member.read(entry.size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError, ValueError):
            continue
        require(theirs == content, f"zipfile has other bytes in {entry}")


TARGET = Target(make_seeds, check, mend, vary, most=1 << 12)
