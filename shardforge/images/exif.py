"""The one thing in EXIF and XMP that changes what an image shows: its orientation, as `PIL.ImageOps` finds it.

A tag in EXIF counts, whatever it holds; where EXIF has none, the first `tiff:Orientation` of XMP does. An orientation
other than 1 to 8 is upright.
"""

from __future__ import annotations

import re
import struct

from shardforge.images.ifd import TYPE_BYTES, read_layout, read_number

ORIENTATION_TAG = 0x0112
UPRIGHT = 1
EXIF_PREFIX = b"Exif\0\0"

_PREFIXES = re.compile(rb"\A(?:Exif\0\0)+")
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


class DamagedExifError(ValueError):
    """A block that is no EXIF."""


def find_orientation(exif: bytes | None, xmp: bytes | None, notes: list[str]) -> int:
    """Return the orientation, 1 to 8, that EXIF or else XMP asks for; a block that is no EXIF becomes a note."""
    found = None
    if exif:
        try:
            found = read_exif_orientation(exif)
        except DamagedExifError:
            notes.append("the EXIF block is damaged")
    if found is None and xmp and (match := _XMP_ORIENTATION.search(xmp)):
        found = int(match[1])
    return valid_orientation(found)


def valid_orientation(value: float | None) -> int:
    """Return a number as an orientation, upright where it is none."""
    return int(value) if value in range(1, 9) else UPRIGHT  # type: ignore[arg-type]


def read_exif_orientation(block: bytes) -> float | None:
    """Return what the orientation tag of the first directory says, 0 where that is no number, None without the tag.

    Args:
        block: the TIFF structure of EXIF 2.3 section 4.5, behind any number of `Exif\\0\\0`.

    Raises:
        DamagedExifError: it does not begin as EXIF does.
    """
    block = _PREFIXES.sub(b"", block, count=1)
    layout = read_layout(block[:4])
    if layout is None or layout.room != 4 or len(block) < 8:
        raise DamagedExifError
    order = layout.order
    try:
        (directory,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, directory)
        seen: set[int] = set()
        outside = 0
        read_entry = struct.Struct(f"{order}HHI").unpack_from
        for entry in range(directory + 2, directory + 2 + entries * 12, 12):
            tag, field_type, values = read_entry(block, entry)
            size = values * TYPE_BYTES.get(field_type, 0)
            (place,) = struct.unpack_from(f"{order}I", block, entry + 8)
            if tag in seen or not size:
                continue
            if size <= 4:
                place = entry + 8
            else:
                outside += size
                if outside > len(block):  # values that overlap: Pillow passes over them
                    continue
                if place + size > len(block):  # and stops at values that lie behind the end
                    return None
            if tag == ORIENTATION_TAG:
                return read_number(order, field_type, block[place : place + size]) or 0
            seen.add(tag)
    except struct.error:
        pass
    return None
